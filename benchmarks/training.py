"""The training loop compared with the bare step on one batch, and with the usual loader over PNG files.

    python -m benchmarks.training [--device cpu|cuda] [--networks small_cnn resnet18] [--runs 5]
        [--images N] [--quick]

Measured per network and augmentation, in turn and several times: the step alone on one batch in memory;
the second of two epochs of ERM by `models.training.fit.fit` over a packed store (the first starts the
decoding processes); on a GPU also the finetune's epoch on masked images; and, for SmallCNN without
augmentation, torchvision's ImageFolder in a DataLoader of two workers, in a plain loop. An epoch's checkpoint
is timed separately. Figures are medians over the runs in images/s; shares are medians of the pairs;
`cpu_share` compares CPU time in place of wall time, for machines that also run other work. Ends with one JSON
line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from benchmarks._common import Aim, add_machine, finish, table, work_folder
from benchmarks._needs import need_device, refuse
from masktune.contract.hyperparameters import Augmentation, Hyperparameters, Precision
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.layout import DatasetInfo
from models.data.loading.batches import Batch, Loader
from models.data.loading.loader_settings import Masking
from models.data.loading.loaders import train_loader
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from models.masking.rule import apply_masks, heights, thresholds
from models.masking.store import MaskBatch, MaskSet, MaskSetHeader, write_mask_set
from models.run import Progress, Run
from models.runtime.process import prepare_process
from models.training.checkpoints import CheckpointFolder
from models.training.counting import autocast
from models.training.fit import FitConfig, FitData, fit
from models.training.optim import make_optimizer
from tests.support.arrays import Arrays, write_arrays

CLASSES = ("a", "b")
OVER_FILES = 2.0  # SmallCNN against PNG files
_STORED_SIDE = 256  # pixels; photographs that the workers decode for a GPU


class Case(NamedTuple):
    """`share` is the target: the loop's rate over the bare step's."""

    size: int
    batch: int
    images: int
    augmentations: tuple[Augmentation, ...]
    precisions: tuple[Precision, ...]
    share: float


CASES = {
    "small_cnn": Case(28, 128, 12_800, ("none", "flip_affine"), ("fp32",), 0.94),
    "resnet18": Case(64, 128, 1024, ("none", "flip_affine"), ("fp32",), 0.94),
}
CUDA_CASES = {
    "small_cnn": Case(28, 1024, 102_400, ("none",), ("fp32",), 0.90),
    "resnet50": Case(224, 256, 8192, ("crop_flip",), ("fp32", "bf16"), 0.90),
}


class Timing(NamedTuple):
    """Seconds of an epoch, of CPU time of this process in it, and of writing its checkpoint."""

    epoch: float
    cpu: float
    checkpoint: float = 0.0


@dataclass(frozen=True)
class Setup:
    """One row of the table: the network, its configuration and its data."""

    name: str
    case: Case
    config: Hyperparameters
    store: Store
    files: Path  # an image folder with the same images
    run: Run

    def network(self) -> Network:
        """The same fresh weights each time, on the device."""
        network = build_network(self.name, classes=2, image_size=self.case.size, seed=1)
        return network.to(self.run.device)


def main() -> int:
    arguments = _arguments()
    run = Run(need_device(arguments.device))
    cases = CUDA_CASES if run.device.type == "cuda" else CASES
    if others := set(arguments.networks or ()) - set(cases):
        refuse(f"{run.device.type} has no case of {', '.join(sorted(others))}, but of {', '.join(cases)}")
    prepare_process(arguments.threads)
    if arguments.quick:
        cases = {name: case._replace(images=2 * case.batch) for name, case in cases.items()}
    elif arguments.images:
        cases = {name: case._replace(images=arguments.images) for name, case in cases.items()}
    runs = 1 if arguments.quick else arguments.runs
    rows: list[dict[str, Any]] = []
    with work_folder(arguments.work) as folder:
        for name in arguments.networks or cases:
            place = folder / f"{name}-{cases[name].images}"
            store = _store(place, cases[name])
            for augmentation in cases[name].augmentations:
                for precision in cases[name].precisions:
                    config = _config(name, cases[name], augmentation, precision)
                    setup = Setup(name, cases[name], config, store, place / "files", run)
                    rows.append(_measure(setup, runs))
    print(table(rows))
    aims = {} if arguments.quick else _aims(rows, cases)
    return finish("training", run, rows=rows, aims=aims, runs=runs)


def _measure(setup: Setup, runs: int) -> dict[str, Any]:
    """Time each way in turn, so that a slow minute of the machine affects all of them."""
    ways: dict[str, Callable[[], Timing]] = {
        "step": lambda: bare_steps(setup),
        "loop": lambda: loop(setup),
    }
    if setup.run.device.type == "cuda":
        ways["finetune"] = lambda: loop(setup, masked=True)
    if setup.name == "small_cnn" and setup.config.augmentation == "none":
        ways["files"] = lambda: files(setup)
    timings: dict[str, list[Timing]] = {name: [] for name in ways}
    for index in range(runs + 1):
        for name, way in ways.items():
            timing = way()
            if index:  # the first round warms up
                timings[name].append(timing)
    seconds = {name: [t.epoch for t in timed] for name, timed in timings.items()}

    def rate(name: str) -> float | None:
        return setup.case.images / statistics.median(seconds[name]) if name in seconds else None

    def share(name: str, over: str) -> float | None:
        if name not in seconds or over not in seconds:
            return None
        return statistics.median(o / n for n, o in zip(seconds[name], seconds[over], strict=True))

    return {
        "network": setup.name,
        "size": setup.case.size,
        "batch": setup.case.batch,
        "augmentation": setup.config.augmentation,
        "precision": setup.config.precision,
        "step": rate("step"),
        "loop": rate("loop"),
        "loop_over_step": share("loop", "step"),
        "cpu_share": statistics.median(
            step.cpu / loop.cpu for step, loop in zip(timings["step"], timings["loop"], strict=True)
        ),
        "finetune": rate("finetune"),
        "finetune_over_step": share("finetune", "step"),
        "files": rate("files"),
        "loop_over_files": share("loop", "files"),
        "checkpoint_seconds": statistics.median(t.checkpoint for t in timings["loop"]),
    }


def bare_steps(setup: Setup) -> Timing:
    """Time as many steps as an epoch has, with the loop's optimizer on one batch in memory."""
    network, batch = setup.network().train(), _fixed_batch(setup)
    optimizer = make_optimizer(network, setup.config.optimizer)
    _synchronize(setup.run)
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(setup.case.images // setup.case.batch):
        with autocast(setup.run.device, setup.config.precision):
            logits = network(batch.images)
            loss = F.cross_entropy(logits.float(), batch.labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
    _synchronize(setup.run)
    return Timing(time.perf_counter() - started, time.process_time() - cpu)


def _fixed_batch(setup: Setup) -> Batch:
    """The one batch in memory that every bare step uses."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(setup.case.batch, 3, setup.case.size, setup.case.size, generator=generator)
    labels = torch.arange(setup.case.batch) % 2
    images = images.to(setup.run.device).contiguous(memory_format=torch.channels_last)
    return Batch(images, labels.to(setup.run.device), torch.arange(setup.case.batch))


def loop(setup: Setup, *, masked: bool = False) -> Timing:
    """Time the second epoch of `fit` over an open store; the first epoch starts the decoding workers."""
    masking = Masking(_masks(setup), apply_masks) if masked else None
    loader: Loader = train_loader(setup.store, setup.config, setup.run, masking)
    network, plan = setup.network(), FitConfig(2, setup.config.optimizer, precision=setup.config.precision)
    cpu = [0.0, 0.0]  # at the end of each epoch, before its checkpoint

    def on_progress(progress: Progress) -> None:
        if progress.metrics:
            cpu[progress.epoch - 1] = time.process_time()

    run = replace(setup.run, on_progress=on_progress)
    with work_folder(None) as folder:
        _synchronize(run)
        started = time.perf_counter()
        fitted = fit(
            network, FitData(loader), config=plan, run=run, checkpoints=CheckpointFolder(folder / "training")
        )
        _synchronize(run)
        whole = time.perf_counter() - started
    seconds = [epoch.seconds for epoch in fitted.history]
    return Timing(seconds[1], cpu[1] - cpu[0], (whole - sum(seconds)) / 2)


def _masks(setup: Setup) -> MaskSet:
    """Masks of random maps, a twentieth of each image's pixels, to measure what masks cost the finetune."""
    images, size, folder = setup.case.images, setup.case.size, setup.files.with_name("masks")
    if not folder.exists():
        maps = torch.rand(images, 7, 7, generator=torch.Generator().manual_seed(0))
        parts = (maps[first : first + 256] for first in range(0, images, 256))
        bounds = torch.cat([thresholds(heights(some, (size, size)), share=0.05) for some in parts])
        rows, zeros = torch.arange(images), torch.zeros(images, dtype=torch.int64)
        header = MaskSetHeader("xgradcam", "predicted", 2.0, 0.05, (size, size), (7, 7), 0, images, "none")
        write_mask_set(folder, header, [MaskBatch(rows, maps, bounds, zeros.int(), zeros)])
    return MaskSet.open(folder)


def files(setup: Setup) -> Timing:
    """Time the plain loop of torch's tutorials: ImageFolder, two workers, SGD, torch's own layout.

    It runs in this process, so that the allocator's settings, worth a quarter to a half, help it as well.
    """
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import ToTensor

    dataset = ImageFolder(str(setup.files), ToTensor())
    loader = DataLoader(dataset, setup.case.batch, shuffle=True, num_workers=2)
    network = setup.network().to(memory_format=torch.contiguous_format).train()  # type: ignore[call-overload]  # torch's stub knows no memory_format alone
    chosen = setup.config.optimizer
    optimizer = torch.optim.SGD(
        network.parameters(), chosen.learning_rate, chosen.momentum, weight_decay=chosen.weight_decay
    )
    started, cpu = time.perf_counter(), time.process_time()
    for images, labels in loader:
        loss = F.cross_entropy(network(images.to(setup.run.device)), labels.to(setup.run.device))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    _synchronize(setup.run)
    return Timing(time.perf_counter() - started, time.process_time() - cpu)


def _synchronize(run: Run) -> None:
    if run.device.type == "cuda":
        torch.cuda.synchronize(run.device)


def _config(name: str, case: Case, augmentation: Augmentation, precision: Precision) -> Hyperparameters:
    return replace(
        Hyperparameters(backbone=name, image_size=case.size, epochs=1, batch_size=case.batch),
        augmentation=augmentation,
        precision=precision,
    )


def _store(place: Path, case: Case) -> Store:
    """Packed images: up to 64 px as pixels, with PNG files beside them; larger ones as JPEG photographs."""
    if not (place / "store").exists():
        labels = np.arange(case.images, dtype=np.int64) % 2
        if case.size <= 64:
            images = _pictures(case.images, case.size)
            arrays = Arrays(images, labels, ["train"] * case.images)
            write_arrays(place / "store", arrays, DatasetInfo("pictures", "builtin", CLASSES))
            _write_files(place / "files", images, labels)
        else:
            write_photographs(place / "store", labels)
    return Store.open(place / "store")


def _pictures(count: int, side: int) -> NDArray[np.uint8]:
    """Smooth random colours, as compressible as small photographs are."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    pictures = (Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR) for image in coarse)
    return np.stack([np.asarray(picture) for picture in pictures])


def _write_files(folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        Image.fromarray(image).save(folder / CLASSES[label] / f"{index:06d}.png")


def write_photographs(folder: Path, labels: NDArray[np.int64], *, held_out: int = 0) -> None:
    """Write 64 different JPEG files many times over: decoding costs the same, and writing costs less.

    The last `held_out` are in val, calibration and test in turn, the others in train.
    """
    noise = np.random.default_rng(0).normal(0, 12, (64, _STORED_SIDE, _STORED_SIDE, 3))
    encoded = []
    for image in np.clip(_pictures(64, _STORED_SIDE) + noise, 0, 255).astype(np.uint8):
        file = BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=90)
        encoded.append(file.getvalue())
    with StoreWriter(folder) as writer:
        for index, label in enumerate(labels.tolist()):
            side = _STORED_SIDE
            data = encoded[index % len(encoded)]
            split = "train" if index < len(labels) - held_out else ("val", "calibration", "test")[index % 3]
            writer.add(Row(f"{index}.jpg", label, split, -1, width=side, height=side, image=data))
            writer.pixels.add(None)
        writer.finish(DatasetInfo("photographs", "builtin", CLASSES))


def _aims(rows: list[dict[str, Any]], cases: dict[str, Case]) -> dict[str, Aim]:
    aims = {}
    for row in rows:
        key = f"{row['network']}/{row['augmentation']}/{row['precision']}"
        bound = cases[row["network"]].share
        aims[f"{key}/loop_over_step"] = Aim(row["loop_over_step"], at_least=bound)
        if row["finetune_over_step"] is not None:
            aims[f"{key}/finetune_over_step"] = Aim(row["finetune_over_step"], at_least=bound)
        if row["loop_over_files"] is not None:
            aims[f"{key}/loop_over_files"] = Aim(row["loop_over_files"], at_least=OVER_FILES)
    return aims


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=sorted({*CASES, *CUDA_CASES}))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--images", type=int, help="in an epoch, where the usual number takes too long")
    parser.add_argument(
        "--quick", action="store_true", help="one short run of each, no targets: a smoke test"
    )
    add_machine(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
