"""What the finder names on small networks trained from scratch, at each level of instructions.

Other instructions round otherwise, and so train another network from the same seed: whether its early stages
agree is chance, and so is a part of what they name. A process of its own measures each level, because torch
and NumPy read the variables when they are imported: `python -m benchmarks._finder_levels STORE SEEDS`.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks._common import Aim, work_folder
from masktune.contract.hyperparameters import HeadConfig, Hyperparameters
from models.data.importing.datasets import import_dataset
from models.data.loading.batches import StoreLoader
from models.data.loading.loaders import evaluation_loader
from models.data.store import Store
from models.inputs import new_network
from models.masktune import fit_erm
from models.mitigation.finder import infer_minority
from models.mitigation.pattern_judge import fit_pattern_judge
from models.mitigation.stage_features import shuffled
from models.run import Run
from models.runtime.process import prepare_process
from models.types import Labels
from tests.support.biased_digits import make_digits, with_square
from tests.support.stage_features import compute_stage_features, pooled_features

TRAINING = {"backbone": "small_cnn", "image_size": 16, "epochs": 12, "batch_size": 32}
LEAST = {"precision": 0.8, "recall": 0.5}
_ANY = "its own"
_AVX2 = "X86_V3 AVX2 FMA3"
_AVX512 = "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL"


class Level(NamedTuple):
    """A processor has it if /proc/cpuinfo names `flag`. The others keep torch, oneDNN, MKL, OpenBLAS and
    NumPy to it; NumPy by what it may not use, by its names until 2.3 and since."""

    flag: str
    torch: str
    onednn: str
    mkl: str
    openblas: str
    not_numpy: str

    def variables(self) -> dict[str, str]:
        names = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE")
        return dict(zip((*names, "NPY_DISABLE_CPU_FEATURES"), self[1:], strict=True))


LEVELS = {
    "SSE4.2": Level("sse4_2", "default", "SSE41", "SSE4_2", "Nehalem", f"{_AVX2} {_AVX512}"),
    "AVX2": Level("avx2", "avx2", "AVX2", "AVX2", "Haswell", _AVX512),
    "AVX-512": Level("avx512f", "avx512", "AVX512_CORE", "AVX512", "SkylakeX", ""),
}


Shares = dict[str, float] | None
"""Of all images of the set: precision and recall; None if early stages do not agree, and nothing is named."""


def measure_levels(folder: Path, seeds: int) -> tuple[list[dict[str, Any]], dict[str, Aim]]:
    """A row for each level, and one for all: in how many networks early stages agree, and what these name."""
    store = folder / "small-digits"
    import_dataset(make_digits(folder / "digits", aligned=9, pattern=with_square), store)
    by_level = {level: list(_at_level(level, store, seeds)) for level in _levels()}
    rows = [_row(level, networks) for level, networks in by_level.items()]
    aims = {
        f"small networks, lowest mean {name} of a level": Aim(
            min((row[name] for row in rows if row["agree"]), default=0.0), at_least=least
        )
        for name, least in LEAST.items()
    }
    return [*rows, _row("all", [one for networks in by_level.values() for one in networks])], aims


def _row(level: str, networks: Sequence[Shares]) -> dict[str, Any]:
    agreeing = [one for one in networks if one is not None]
    row: dict[str, Any] = {"instructions": level, "networks": len(networks), "agree": len(agreeing)}
    for name in LEAST:
        shares = [one[name] for one in agreeing]
        row[name] = statistics.fmean(shares) if shares else None
        row |= {f"{name} sd": statistics.pstdev(shares) if shares else None}
        row |= {f"{name} from": min(shares, default=None), f"{name} to": max(shares, default=None)}
    return row


def _levels() -> Sequence[str]:
    """Those of this processor."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return [name for name, level in LEVELS.items() if level.flag in flags] or [_ANY]


def _at_level(level: str, store: Path, seeds: int) -> Iterator[Shares]:
    """Of the networks of so many seeds, measured in a process of this level."""
    command = [sys.executable, "-m", "benchmarks._finder_levels", str(store), str(seeds)]
    variables = LEVELS[level].variables() if level in LEVELS else {}
    with subprocess.Popen(command, env=os.environ | variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{level}: {line}", end="", file=sys.stderr, flush=True)
            yield json.loads(line)
    if process.returncode:
        raise RuntimeError(f"the networks of {level} ended with {process.returncode}")


# --- in the process of a level --------------------------------------------------------------------


def main(folder: str, seeds: str) -> None:
    prepare_process(1)
    store = Store.open(Path(folder))
    for seed in range(int(seeds)):
        with work_folder(None) as scratch:
            print(json.dumps(_measure(store, seed, scratch)), flush=True)


def _measure(store: Store, seed: int, scratch: Path) -> Shares:
    """What an `erm` job with these fields names, without its report."""
    config, run = Hyperparameters.from_json(TRAINING | {"seed": seed}), Run(torch.device("cpu"), seed)
    network = new_network(store, config)
    fit_erm(network, store, config, run, folder=scratch)

    def loader(rows: Labels) -> StoreLoader:
        return evaluation_loader(store, rows, config, run)

    features = compute_stage_features(network, loader(shuffled(store.rows("train"))), run)
    rows, patterns = features.last.rows, np.full(len(store), -1)
    minority = infer_minority(
        features,
        HeadConfig(),
        classes=store.classes,
        seed=seed,
        pictures=store.pictures(rows),
        clusters=store.clusters(rows),
    )
    if minority.patterns is None:
        return None
    patterns[rows] = minority.patterns
    judge = fit_pattern_judge(features, minority)
    number = [stage.name for stage in features.stages].index(judge.stage)
    for split in ("val", "calibration", "test"):
        rows = store.rows(split)
        pooled = torch.from_numpy(pooled_features(network, loader(rows), run)[number])
        patterns[rows] = judge.patterns(judge.axes.coordinates(pooled).numpy())
    named = patterns != store.labels
    lacking = np.array(["lacks" in store.sample(row).path for row in range(len(store))])
    return {"precision": float(lacking[named].mean()), "recall": float(named[lacking].mean())}


if __name__ == "__main__":
    main(*sys.argv[1:])
