"""A frozen ERM beside one pass of its backbone over the same photographs.

    python -m benchmarks.frozen [--images 1000] [--size 128] [--rounds 3] [--threads 2] [--device cpu|cuda]

The photographs are crops of the two that scikit-learn ships, saved as JPEG. Both sides start from nothing in
each round, and take turns: one pass computes the features of train and val; ERM, with the default fields for
photographs, does the same and then trains the last layer for its 30 epochs. Figures are medians over the
rounds. Ends with one JSON line; exits with 1 if ERM takes more than 1.3 times the pass.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks._common import Aim, finish, table, work_folder
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from models.defaults import default_hyperparameters
from models.masktune import fit_erm
from models.run import Run, resolve_device
from models.runtime.process import prepare_process
from models.training.inputs import new_network, split_features

MOST = 1.3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    prepare_process(arguments.threads)
    run = Run(resolve_device(arguments.device))
    with work_folder(None) as folder:
        store = photographs(folder / "store", arguments.images, arguments.size)
        rounds = [measure(store, run, folder / f"round-{n}") for n in range(arguments.rounds)]
    passes, erms = zip(*rounds, strict=True)
    images = len(store.rows("train")) + len(store.rows("val"))
    rows = [
        {"side": name, "seconds": statistics.median(seconds), "images/s": images / statistics.median(seconds)}
        for name, seconds in (("one pass", passes), ("frozen ERM", erms))
    ]
    print(table(rows))
    ratio = statistics.median(erm / one for one, erm in rounds)
    return finish("frozen", run, rows=rows, aims={"erm_over_pass": Aim(round(ratio, 3), at_most=MOST)})


def photographs(folder: Path, images: int, size: int) -> Store:
    """Crops of scikit-learn's two photographs, one class each; one in five is for val."""
    from sklearn.datasets import load_sample_images

    rng, whole = np.random.default_rng(0), load_sample_images().images
    with StoreWriter(folder) as writer:
        for index in range(images):
            label = index % len(whole)
            height, width = whole[label].shape[:2]
            top, left = rng.integers(height - size), rng.integers(width - size)
            file = io.BytesIO()
            Image.fromarray(whole[label][top : top + size, left : left + size]).save(file, "JPEG")
            split = "val" if index % 5 == 4 else "train"
            writer.add(Row(f"{index:05d}.jpg", label, split, -1, size, size, file.getvalue()))
        writer.finish(DatasetInfo("crops", "image_folder", ("china", "flower")))
    return Store.open(folder)


def measure(store: Store, run: Run, folder: Path) -> tuple[float, float]:
    """Seconds of one pass, and of a frozen ERM."""
    size = int(store.sizes.max())
    config = default_hyperparameters(size, len(store.rows("train")), len(store.classes))
    network = new_network(store, config).to(run.device)
    started = time.perf_counter()
    for split in ("train", "val"):
        split_features(network, store, config, run, split)
    between = time.perf_counter()
    fit_erm(network, store, config, run, folder=folder)
    return between - started, time.perf_counter() - between


if __name__ == "__main__":
    sys.exit(main())
