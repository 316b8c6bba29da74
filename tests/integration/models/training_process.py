"""A training as a process of its own: `python training_process.py STORE FOLDER BACKBONE [SECONDS_A_STEP]`.

Writes the digest, the epoch taken and the counts of each epoch. Under torchrun it is one rank of it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from models.process import prepare_process


def main(store_folder: str, folder: str, backbone: str, pause: str = "0") -> None:
    prepare_process(int(os.environ.get("OMP_NUM_THREADS", "1")))
    import torch

    from models.backbones import build_network
    from models.checkpoints import CheckpointFolder
    from models.config import Hyperparameters
    from models.data.store import Store
    from models.distributed import joined
    from models.masktune import train_loader, val_loader
    from models.run import Run
    from models.train import FitConfig, FitData, fit

    def wait() -> bool:
        time.sleep(float(pause))
        return False

    config = Hyperparameters(backbone=backbone, image_size=32, batch_size=8, epochs=4, augmentation="flip")
    with joined(Run(device=torch.device("cpu"), seed=5, should_stop=wait)) as run:
        store = Store.open(store_folder)
        network = build_network(backbone, classes=2, image_size=32, seed=5)
        data = FitData(train_loader(store, config, run), val_loader(store, config, run))
        plan = FitConfig(config.epochs, config.optimizer)
        result = fit(network, data, config=plan, run=run, checkpoints=CheckpointFolder(Path(folder)))
        if run.rank == 0:
            counts = [(r.images, r.val_images, r.val_correct) for r in result.history]
            sys.stdout.write(f"{result.digest} {result.epoch} {counts}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
