"""Trainings in a separate process: `python training_process.py STORE FOLDER BACKBONE …`.

Each training writes a line: the digest, the selected epoch and the counts of each epoch. Under torchrun, the
process is one rank.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from models.runtime.process import prepare_process


def main(store_folder: str, *trainings: str) -> None:
    prepare_process(int(os.environ.get("OMP_NUM_THREADS", "1")))
    import torch

    from masktune.contract.hyperparameters import Hyperparameters
    from models.backbones.build import build_network
    from models.backbones.network import Network
    from models.data.loading.batches import Batch, StoreLoader
    from models.data.loading.loaders import train_loader, val_loader
    from models.data.store import Store
    from models.run import Run
    from models.runtime.distributed import process_group
    from models.training.checkpoints import CheckpointFolder, weights_digest
    from models.training.fit import FitConfig, FitData, fit

    class Judged:
        """The validation split; prints which model is evaluated."""

        def __init__(self, loader: StoreLoader, network: Network, file: Path) -> None:
            self._loader, self._network, self._file = loader, network, file
            self.images = loader.images

        def __len__(self) -> int:
            return len(self._loader)

        def epoch(self, generator: torch.Generator | None) -> Iterator[Batch]:
            with self._file.open("a") as file:
                file.write(f"{weights_digest(self._network.model)}\n")
            return self._loader.epoch(generator)

    def train(folder: str, backbone: str, run: Run) -> None:
        config = Hyperparameters(
            backbone=backbone, image_size=32, batch_size=8, epochs=4, augmentation="flip"
        )
        store = Store.open(store_folder)
        network = build_network(backbone, classes=2, image_size=32, seed=5)
        val = Judged(val_loader(store, config, run), network, Path(f"{folder}-judged-{run.rank}"))
        data = FitData(train_loader(store, config, run), val)
        plan = FitConfig(config.epochs, config.optimizer)
        result = fit(network, data, config=plan, run=run, checkpoints=CheckpointFolder(Path(folder)))
        if run.rank == 0:
            counts = [(r.images, r.val_images, r.val_correct) for r in result.history]
            sys.stdout.write(f"{result.digest} {result.epoch} {counts}\n")

    with process_group(Run(device=torch.device("cpu"), seed=5)) as run:
        for folder, backbone in zip(trainings[::2], trainings[1::2], strict=True):
            train(folder, backbone, run)


if __name__ == "__main__":
    main(*sys.argv[1:])
