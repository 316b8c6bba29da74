"""Trainings as real processes: killed and resumed, and over two ranks."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoints import CheckpointFolder
from models.data.layout import DatasetInfo
from models.data.packing import Arrays, write_arrays

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("training_process.py")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    labels = np.arange(47, dtype=np.int64) % 2
    images = rng.integers(0, 128, (47, 32, 32, 3)) + 60 * labels[:, None, None, None]
    splits = ["train"] * 37 + ["val"] * 10
    info = DatasetInfo("x", "builtin", ("a", "b"))
    write_arrays(tmp_path / "store", Arrays(images.astype(np.uint8), labels, splits), info)
    return tmp_path / "store"


def _train(*arguments: object, ranks: int = 1) -> str:
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    done = subprocess.run(
        [*launcher, str(SCRIPT), *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    return done.stdout.strip()


def test_killed_at_any_time_it_ends_with_the_same_bits(store: Path, tmp_path: Path) -> None:
    straight = _train(store, tmp_path / "straight", "small_cnn")
    dice = random.Random(4)
    broken = tmp_path / "broken"
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(store), str(broken), "small_cnn", "0.1"], env=ENVIRONMENT
        )
        before = len(CheckpointFolder(broken).epochs()) and CheckpointFolder(broken).epochs()[-1]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            epochs = CheckpointFolder(broken).epochs()
            if epochs and epochs[-1] > before:
                break
            time.sleep(0.02)
        time.sleep(dice.random() * 0.4)
        process.kill()
        process.wait()
        assert process.returncode == -9
    assert _train(store, broken, "small_cnn") == straight


def test_two_ranks_train_as_one_process_with_the_whole_batch(store: Path, tmp_path: Path) -> None:
    """With a network that has no batch norm, up to the order of sums. 37 images leave an odd last batch."""
    alone = _train(store, tmp_path / "one", "timm/test_vit").split(maxsplit=1)[1]
    together = _train(store, tmp_path / "two", "timm/test_vit", ranks=2).split(maxsplit=1)[1]
    assert together == alone  # the same epoch, every image counted once
    one, two = (CheckpointFolder(tmp_path / name).last() for name in ("one", "two"))
    assert one.weights.keys() == two.weights.keys()
    for name, tensor in one.weights.items():
        torch.testing.assert_close(two.weights[name], tensor, rtol=1e-4, atol=1e-6)
    for before, after in zip(one.history, two.history, strict=True):
        assert after.loss == pytest.approx(before.loss, rel=1e-4)


def test_two_ranks_train_batch_norm_too(store: Path, tmp_path: Path) -> None:
    """Each rank normalises by its own part: another training, and a sound one. All judge what is kept."""
    _train(store, tmp_path / "two", "small_cnn", ranks=2)
    folder = CheckpointFolder(tmp_path / "two")
    judged = [(tmp_path / f"two-judged-{rank}").read_text().split() for rank in (0, 1)]
    assert judged[0] == judged[1]
    assert len(set(judged[0])) == 4
    history = folder.last().history
    assert [r.images for r in history] == [37] * 4
    assert history[-1].loss < history[0].loss
