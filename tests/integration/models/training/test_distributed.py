"""Trainings over two ranks, as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.layout import DatasetInfo
from models.training.checkpoints import CheckpointFolder
from tests.support.arrays import Arrays, write_arrays

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROOT = Path(__file__).parents[4]
SCRIPT = Path(__file__).with_name("training_process.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


BACKBONES = ("small_cnn", "timm/test_vit")
"""Trained one after the other: starting a process costs more than training both."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "store"
    rng = np.random.default_rng(1)
    labels = np.arange(47, dtype=np.int64) % 2
    images = rng.integers(0, 128, (47, 32, 32, 3)) + 60 * labels[:, None, None, None]
    splits = ["train"] * 37 + ["val"] * 10
    info = DatasetInfo("x", "builtin", ("a", "b"))
    write_arrays(folder, Arrays(images.astype(np.uint8), labels, splits), info)
    return folder


@dataclass(frozen=True)
class Trained:
    """What a training printed, and where it wrote."""

    line: str
    folder: Path


@pytest.fixture(scope="module")
def alone(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """Each of `BACKBONES`, trained by one process."""
    return _train(store, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def together(store: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    """Each of `BACKBONES`, trained by two ranks."""
    return _train(store, tmp_path_factory.mktemp("together"), ranks=2)


def _train(store: Path, into: Path, *, ranks: int = 1) -> dict[str, Trained]:
    """Train each of `BACKBONES` in a folder of its own."""
    folders = {backbone: into / str(number) for number, backbone in enumerate(BACKBONES)}
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    trainings = [part for backbone, folder in folders.items() for part in (str(folder), backbone)]
    done = subprocess.run(
        [*launcher, str(SCRIPT), str(store), *trainings],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return {
        backbone: Trained(line, folders[backbone]) for backbone, line in zip(BACKBONES, lines, strict=True)
    }


def test_two_ranks_train_as_one_process_with_the_whole_batch(
    alone: dict[str, Trained], together: dict[str, Trained]
) -> None:
    """With a network that has no batch norm, up to the order of sums. 37 images leave an odd last batch."""
    trained = [each["timm/test_vit"] for each in (alone, together)]
    by_one, by_two = (each.line.split(maxsplit=1)[1] for each in trained)
    assert by_two == by_one  # the same epoch, every image counted once
    one, two = (CheckpointFolder(each.folder).last() for each in trained)
    assert one.weights.keys() == two.weights.keys()
    for name, tensor in one.weights.items():
        torch.testing.assert_close(two.weights[name], tensor, rtol=1e-4, atol=1e-6)
    for before, after in zip(one.history, two.history, strict=True):
        assert after.loss == pytest.approx(before.loss, rel=1e-4)


def test_two_ranks_train_batch_norm_too(together: dict[str, Trained]) -> None:
    """Each rank normalises by its own part: another training, and a sound one. All judge what is kept."""
    folder = together["small_cnn"].folder
    judged = [folder.with_name(f"{folder.name}-judged-{rank}").read_text().split() for rank in (0, 1)]
    assert judged[0] == judged[1]
    assert len(set(judged[0])) == 4
    history = CheckpointFolder(folder).last().history
    assert [r.images for r in history] == [37] * 4
    assert history[-1].loss < history[0].loss
