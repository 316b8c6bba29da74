"""Shared by the benchmarks: the machine, a service, trainings, simulations, targets, the last JSON line."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from masktune.contract.hyperparameters import Hyperparameters
from models.backbones.network import Network
from models.data.layout import DatasetInfo
from models.data.loading.loaders import evaluation_loader
from models.data.store import Store
from models.evaluation.metrics import Logits, predict_logits
from models.run import Progress, Run, resolve_device
from tests.support.arrays import Arrays, write_arrays

ROOT = Path(__file__).parents[1]
Labels = NDArray[np.int64]
_REPORT_SECONDS = 15.0
TARGET = 0.05
"""Share of draws without an effect in which a simulated rule may see one."""
_DESCRIPTIVE = {"description", "title", "data", "released"}  # a preset's other keys
BIASED_MNIST_BOUNDS = {"erm": {"at_most": 0.5}, "control": {"at_most": 0.5}, "masktune": {"at_least": 0.95}}
"""Of the accuracy where the square is on the wrong class, by arm; for digits marked in order."""


# --- the machine, and a work folder --------------------------------------------------------------


def device_name(device: torch.device) -> str:
    """The name of the GPU or the processor; the architecture if that is unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def load_average() -> float:
    """The last minute's load; above the number of threads, other work shared the benchmark's cores."""
    return round(os.getloadavg()[0], 1)


def usable_cores() -> int:
    """The number of cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every benchmark of trainings has."""
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


# --- a service, as a process ---------------------------------------------------------------------


def environment(**settings: str) -> dict[str, str]:
    """This process's environment, with only the given `MASKTUNE_…` settings: `environment(THREADS="1")`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKTUNE_")}
    return ours | {f"MASKTUNE_{name}": value for name, value in settings.items()} | {"PYTHONPATH": str(ROOT)}


def leave_on_sigterm() -> None:
    """Make SIGTERM end this process through its `finally` blocks, and so everything that it has started."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def served(folder: Path, **settings: str) -> contextlib.AbstractContextManager[str]:
    """As `running_service`, of this checkout, with its data in `folder`/data."""
    return running_service(folder, "masktune.cli", environment(DATA_DIR=str(folder / "data"), **settings))


@contextlib.contextmanager
def running_service(folder: Path, program: str, env: Mapping[str, str]) -> Iterator[str]:
    """Run `masktune serve` on a free port, by the module `program`; yields its address.

    The service and everything it started end with the block. Raises RuntimeError if it does not start.
    """
    leave_on_sigterm()
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", program, "serve", "--port", "0"],
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        yield start_address(process)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def start_address(process: subprocess.Popen[str]) -> str:
    """The address that a starting `masktune serve` prints. Raises RuntimeError if it ends before."""
    assert process.stdout is not None
    for line in process.stdout:
        if "ready at " in line:
            return line.partition("ready at ")[2].split()[0]
    raise RuntimeError("the service ended before it was ready")


# --- trainings -----------------------------------------------------------------------------------


def preset(name: str) -> Hyperparameters:
    """The hyperparameters of presets/`name`.toml."""
    fields = tomllib.loads((resources.files("presets") / f"{name}.toml").read_text())
    return Hyperparameters.from_json({k: v for k, v in fields.items() if k not in _DESCRIPTIVE})


def packed(folder: Path, arrays: Arrays, info: DatasetInfo) -> Store:
    """The store in `folder`, written if it does not exist yet."""
    if not folder.exists():
        write_arrays(folder, arrays, info)
    return Store.open(folder)


def predict(network: Network, store: Store, rows: Labels, config: Hyperparameters, run: Run) -> Logits:
    """The network's predictions for `rows`."""
    return predict_logits(network, evaluation_loader(store, rows, config, run), run)


# --- figures, targets, the JSON line -------------------------------------------------------------


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
    if not rows:
        return "(none)"
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


# --- simulations of a rule's error rates ---------------------------------------------------------


def simulation_parser(description: str) -> argparse.ArgumentParser:
    """A parser of `draws` and `seed`."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--draws", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=0)
    return arguments


def finish_simulation(
    name: str,
    *,
    worst: float,
    draws: int,
    figures: Sequence[dict[str, Any]],
    seconds: float,
    targets: Mapping[str, dict[str, Any]] | None = None,
) -> int:
    """Print the JSON line; return the exit status, 1 if `worst`, the largest null error rate, is too high, or
    one of the further `targets` is not `ok`."""
    # Three standard errors of a share, so that a good rule does not fail by chance.
    allowed = TARGET + 3 * (TARGET * (1 - TARGET) / draws) ** 0.5
    further = targets or {}
    ok = worst <= allowed and all(target["ok"] for target in further.values())
    own = {"worst_null_error": {"value": worst, "at_most": TARGET, "with_simulation_error": allowed}}
    line = {"benchmark": name, "figures": list(figures), "targets": own | dict(further)}
    print(json.dumps(line | {"seconds": round(seconds, 1), "ok": ok}))
    return 0 if ok else 1
