"""Checkpoints: everything that an epoch needs from earlier ones, written atomically."""

from __future__ import annotations

import hashlib
import io
import pickle  # nosec B403  # only for its error class
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from models.errors import LearningError
from models.runtime.files import replacing

_VERSION = 1


def digest_of(identity: str) -> str:
    """Shorten an identity to 71 characters, for the identity of a training that starts from it."""
    return f"sha256:{hashlib.sha256(identity.encode()).hexdigest()}"


class CheckpointError(LearningError):
    """A checkpoint that cannot be read, or does not belong to this training. The message says what to do."""

    reason = "checkpoint_unusable"


class EpochRecord(NamedTuple):
    """Mean loss of one epoch, and its correct predictions in training and on val (None without val).

    `val_batch_mean` is the mean of the per-batch accuracies on val, set only if it selects the best epoch.
    """

    epoch: int
    learning_rate: float
    loss: float
    correct: int
    images: int
    val_correct: int | None
    val_images: int | None
    seconds: float
    val_batch_mean: float | None = None

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    @property
    def val_accuracy(self) -> float | None:
        if self.val_correct is None or not self.val_images:
            return None
        return self.val_correct / self.val_images


@dataclass(frozen=True)
class Checkpoint:
    """The training state after `epoch` finished epochs.

    `weights` use the library's own tensor names. `identity` identifies the training. `threads` is torch's
    thread count, which affects floating-point sums. `best` is the best epoch on val so far (None without
    val).
    """

    epoch: int
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    learning_rate: float
    threads: int
    identity: str
    best: int | None
    history: tuple[EpochRecord, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Load onto the CPU, executing nothing in the file. Raises `CheckpointError`."""
        try:
            record = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"the checkpoint {path.name} is damaged: {error}") from error
        if not isinstance(record, dict) or record.pop("version", None) != _VERSION:
            raise CheckpointError(f"{path.name} is not a checkpoint of this version: restart the training")
        try:
            history = tuple(EpochRecord(**epoch) for epoch in record.pop("history"))
            return cls(**record, history=history)
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"the checkpoint {path.name} is incomplete or malformed: {error}"
            ) from error

    def write(self, path: Path) -> None:
        """Replace `path` atomically, once the bytes are on disk."""
        record = {field: getattr(self, field) for field in self.__dataclass_fields__}
        record |= {"version": _VERSION, "history": [r._asdict() for r in self.history]}
        record |= {"weights": dict(self.weights), "optimizer": dict(self.optimizer)}
        archive = io.BytesIO()  # written straight to a full disk, torch raises a RuntimeError about positions
        torch.save(record, archive)
        with replacing(path) as file:
            file.write(archive.getbuffer())


class CheckpointFolder:
    """The checkpoints of one training: the newest, and the best if it is a different one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the newest checkpoint, then delete all others except the best."""
        self.path.mkdir(parents=True, exist_ok=True)
        checkpoint.write(self._file(checkpoint.epoch))
        keep = {checkpoint.epoch, checkpoint.best}
        for epoch in self.epochs():
            if epoch not in keep:
                self._file(epoch).unlink(missing_ok=True)

    def epochs(self) -> list[int]:
        """Epochs that have a checkpoint, in ascending order."""
        return sorted(int(file.stem.removeprefix("epoch-")) for file in self.path.glob("epoch-*.pt"))

    def load(self, epoch: int) -> Checkpoint:
        if epoch not in self.epochs():
            raise CheckpointError(f"there is no checkpoint of epoch {epoch} in {self.path.name}")
        return Checkpoint.read(self._file(epoch))

    def newest(self) -> Checkpoint | None:
        epochs = self.epochs()
        return self.load(epochs[-1]) if epochs else None

    def last(self) -> Checkpoint:
        """The newest checkpoint. Raises `CheckpointError` if there is none."""
        newest = self.newest()
        if newest is None:
            raise CheckpointError(f"there is no checkpoint in {self.path.name}: its training has not run")
        return newest

    def _file(self, epoch: int) -> Path:
        return self.path / f"epoch-{epoch:05d}.pt"


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of every parameter and buffer, sorted by name: name, dtype, shape, values."""
    return tensors_digest(module.state_dict())


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of all tensors, sorted by name: name, dtype, shape, values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
