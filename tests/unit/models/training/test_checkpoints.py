"""Checkpoints come back as they were, whole or not at all, and run nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from models.training.checkpoints import (
    Checkpoint,
    CheckpointError,
    CheckpointFolder,
    EpochRecord,
    digest_of,
    weights_digest,
)


def _checkpoint(epoch: int, best: int | None) -> Checkpoint:
    record = EpochRecord(epoch, 0.01, 0.5, 3, 4, 1, 2, 0.1)
    return Checkpoint(
        epoch=epoch,
        weights={"w": torch.full((2, 2), float(epoch))},
        optimizer={
            "state": {0: {"momentum_buffer": torch.ones(2)}},
            "param_groups": [{"lr": 0.1, "params": [0]}],
        },
        learning_rate=0.01,
        threads=2,
        identity="{}",
        best=best,
        history=(record,),
    )


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "c")
    assert folder.newest() is None
    written = _checkpoint(1, 1)
    folder.save(written)
    read = folder.last()
    assert torch.equal(read.weights["w"], written.weights["w"])
    assert replace(read, weights={}, optimizer={}) == replace(written, weights={}, optimizer={})
    assert read.optimizer["param_groups"] == written.optimizer["param_groups"]
    assert read.history[0].val_accuracy == 0.5


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "c")
    for epoch, best in [(1, 1), (2, 2), (3, 2), (4, 2)]:
        folder.save(_checkpoint(epoch, best))
    assert folder.epochs() == [2, 4]
    assert (folder.load(2).epoch, folder.last().epoch, folder.last().best) == (2, 4, 2)
    folder.save(_checkpoint(5, None))
    assert (folder.epochs(), folder.last().epoch) == ([5], 5)


def test_a_file_cut_short_while_it_was_written_is_not_seen(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "c")
    folder.save(_checkpoint(1, 1))
    (tmp_path / "c" / "epoch-00002.partial").write_bytes(b"half")
    assert folder.last().epoch == 1
    folder.save(_checkpoint(2, 2))
    assert folder.last().epoch == 2


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_damaged_files_say_so(tmp_path: Path, content: bytes) -> None:
    folder = CheckpointFolder(tmp_path)
    (tmp_path / "epoch-00001.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        folder.last()


class _Program:
    """Makes the file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.file,))


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    torch.save({"version": 1, "weights": _Program(tmp_path / "run")}, tmp_path / "epoch-00001.pt")
    with pytest.raises(CheckpointError, match="damaged"):
        folder.last()
    assert not (tmp_path / "run").exists()


def test_foreign_contents_and_missing_epochs_say_so(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    with pytest.raises(CheckpointError, match="has not run"):
        folder.last()
    torch.save({"version": 1, "history": [], "weights": {}}, tmp_path / "epoch-00001.pt")
    with pytest.raises(CheckpointError, match="incomplete or malformed"):
        folder.last()
    torch.save({"weights": {}}, tmp_path / "epoch-00001.pt")
    with pytest.raises(CheckpointError, match="version"):
        folder.last()
    with pytest.raises(CheckpointError, match="no checkpoint of epoch 7"):
        folder.load(7)


def test_an_identity_of_any_length_is_named_in_a_line() -> None:
    names = {digest_of(identity) for identity in ("{}", "{} ", "{" + "x" * 10**6 + "}")}
    assert {len(name) for name in names} == {71}
    assert len(names) == 3


def test_the_digest_is_of_values_names_and_shapes_not_of_layout() -> None:
    layer = nn.Conv2d(3, 4, 3)
    digest = weights_digest(layer)
    assert weights_digest(layer.to(memory_format=torch.channels_last)) == digest  # type: ignore[call-overload]  # torch's stub wants a device
    with torch.no_grad():
        layer.bias.add_(1e-7 if layer.bias.dtype == torch.float64 else 1e-3)  # type: ignore[union-attr]  # it has one
    assert weights_digest(layer) != digest
