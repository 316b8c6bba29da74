"""Shared by the experiments: a work folder for resuming, the arms, a table, and the final JSON line."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._machine import device_name, load_average
from masktune.contract.hyperparameters import Hyperparameters
from models.backbones.network import Network
from models.data.layout import DatasetInfo
from models.data.loaders import evaluation_loader
from models.data.store import Store
from models.evaluation.metrics import Logits, predict_logits
from models.masking.compute import RANDOM, load_or_compute_masks
from models.masking.store import MaskSet
from models.masktune import continue_as_control, finetune_on_masks, fit_erm
from models.run import Progress, Run, resolve_device
from models.training.checkpoints import CheckpointFolder
from tests.support.arrays import Arrays, write_arrays

Labels = NDArray[np.int64]
_REPORT_SECONDS = 15.0
_DESCRIPTIVE = {"description", "title", "data", "released"}  # a preset's other keys
BIASED_MNIST_BOUNDS = {"erm": {"at_most": 0.5}, "control": {"at_most": 0.5}, "masktune": {"at_least": 0.95}}
"""Of the accuracy where the square is on the wrong class, by arm; for digits marked in order."""


class Arm(NamedTuple):
    """One of the compared models; `network` holds its weights now, and `masks` are those of its finetune."""

    name: str
    network: Network
    masks: MaskSet | None = None


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every experiment has."""
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--work",
        type=Path,
        help="a folder for data, checkpoints and mask sets: the same command goes on where it was cut off "
        "(default: a temporary one)",
    )


@contextlib.contextmanager
def work_folder(path: Path | None) -> Iterator[Path]:
    """`path`, created if missing, or a temporary folder that is removed at the end."""
    if path is not None:
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="masktune-") as folder:
        yield Path(folder)


def make_run(device: str, seed: int, what: str) -> Run:
    """A run that reports its progress on stderr."""
    return Run(resolve_device(device), seed, on_progress=_Reporter(what))


class _Reporter:
    """Prints at most one line every 15 s."""

    def __init__(self, what: str) -> None:
        self._what, self._reported = what, time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._reported < _REPORT_SECONDS:
            return
        self._reported = now
        measured = " ".join(f"{name} {value:.4g}" for name, value in progress.metrics.items())
        print(
            f"  {self._what}: epoch {progress.epoch}/{progress.epochs} step {progress.step}/{progress.steps} "
            f"{progress.images_per_second:.0f} images/s {measured}",
            file=sys.stderr,
            flush=True,
        )


def preset(name: str) -> Hyperparameters:
    """The hyperparameters of presets/`name`.toml."""
    fields = tomllib.loads((resources.files("presets") / f"{name}.toml").read_text())
    return Hyperparameters.from_json({k: v for k, v in fields.items() if k not in _DESCRIPTIVE})


def packed(folder: Path, arrays: Arrays, info: DatasetInfo) -> Store:
    """The store in `folder`, written if it does not exist yet."""
    if not folder.exists():
        write_arrays(folder, arrays, info)
    return Store.open(folder)


def train_arms(
    network: Network, store: Store, config: Hyperparameters, run: Run, *, folder: Path
) -> Iterator[Arm]:
    """Train ERM, then from its last epoch with equal budgets: random mask, MaskTune, control.

    One iteration of masks. `network` holds each arm's weights in turn, so use an arm before taking the next.
    """
    fit_erm(network, store, config, run, folder=folder / "erm")
    scattered = replace(config, masking=replace(config.masking, method=RANDOM))
    random_set = load_or_compute_masks(network, store, scattered, run, folder=folder / "masks-random")
    masks = load_or_compute_masks(network, store, config, run, folder=folder / "masks")
    yield Arm("erm", network)
    start = CheckpointFolder(folder / "erm").last()
    for name, mask_set in (("random_mask", random_set), ("masktune", masks)):
        finetune_on_masks(network, store, config, run, folder=folder / name, start=start, masks=mask_set)
        yield Arm(name, network, mask_set)
    continue_as_control(network, store, config, run, folder=folder / "control", start=start)
    yield Arm("control", network)


def predict(network: Network, store: Store, rows: Labels, config: Hyperparameters, run: Run) -> Logits:
    """The network's predictions for `rows`."""
    return predict_logits(network, evaluation_loader(store, rows, config, run), run)


@dataclass(frozen=True)
class Aim:
    """A figure and its target, `at_least` or `at_most`."""

    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def ok(self) -> bool:
        low = -float("inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= self.value <= high

    def to_json(self) -> dict[str, Any]:
        bounds = {"at_least": self.at_least, "at_most": self.at_most}
        return {"value": self.value, **{k: v for k, v in bounds.items() if v is not None}, "ok": self.ok}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as aligned columns, floats with four decimals."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def finish(
    name: str, run: Run, *, rows: Sequence[Mapping[str, Any]], aims: Mapping[str, Aim], **more: Any
) -> int:
    """Print the JSON line; return the exit status, 1 if an aim is missed."""
    ok = all(aim.ok for aim in aims.values())
    line = {
        "benchmark": name,
        "device": device_name(run.device),
        "threads": torch.get_num_threads(),
        "load_average": load_average(),
        "torch": torch.__version__,
        **more,
        "figures": rows,
        "targets": {key: aim.to_json() for key, aim in aims.items()},
        "ok": ok,
    }
    print(json.dumps(line), flush=True)
    return 0 if ok else 1
