"""What a stage can give up for, and what its owner is told to do. Anything else is a crash."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from core.artifacts import ArtifactMissing
from core.errors import JobError, MasktuneError, StorageFull, StorageNotWritable, storage_fault
from models.errors import LearningError

_STORAGE: dict[type[MasktuneError], tuple[str, str]] = {
    StorageFull: (
        "storage_full",
        "the disk of the worker or of the artifacts is full; free some space, then "
        "POST /jobs/{id}/resume: the job goes on from its last checkpoint",
    ),
    StorageNotWritable: (
        "storage_not_writable",
        "the worker may not write its folder or the artifacts (read-only, or another user's); let it, "
        "then POST /jobs/{id}/resume: the job goes on from its last checkpoint",
    ),
}


def _out_of_memory(error: BaseException) -> MasktuneError:
    return JobError(
        "out_of_memory",
        "the device ran out of memory; take a smaller batch_size or image_size, or a smaller backbone",
    )


def _os_error(error: BaseException) -> MasktuneError | None:
    kind = storage_fault(error) if isinstance(error, OSError) else None
    if kind is None:
        return None
    reason, detail = _STORAGE[kind]
    return kind(detail, extra={"reason": reason})


def _runtime_error(error: BaseException) -> MasktuneError | None:
    torch = sys.modules.get("torch")  # an import runs without it
    on_card = torch is not None and isinstance(error, torch.OutOfMemoryError)
    # torch has no class of its own for main memory that cannot be had, nor for a loader that was killed.
    if on_card or "DefaultCPUAllocator" in str(error):
        return _out_of_memory(error)
    hint = next((hint for words, hint in _LOADER_KILLED.items() if words in str(error)), None)
    if hint is None or "DataLoader worker" not in str(error):
        return None
    return JobError("out_of_memory", f"a process that decodes images was ended: {hint}", retry=True)


_LOADER_KILLED = {
    "signal: Killed": "mostly the machine ran out of memory; take a smaller batch_size or image_size, or a "
    "machine with more memory",
    "signal: Bus error": "mostly the shared memory is too small (docker: shm_size)",
}
"""Words of torch's error → what it means. Tried again, as where the whole job's process is killed."""


def _gone(error: BaseException) -> MasktuneError:
    return JobError(
        "artifact_missing", f"the artifact {error} is gone from the store; run again the job that made it"
    )


def _as_said(error: BaseException) -> MasktuneError:
    assert isinstance(error, LearningError)
    return JobError(error.reason, str(error))


EXPLAINED: dict[type[BaseException], Callable[[BaseException], MasktuneError | None]] = {
    MemoryError: _out_of_memory,
    ArtifactMissing: _gone,
    LearningError: _as_said,
    OSError: _os_error,
    RuntimeError: _runtime_error,
}
"""Errors that a stage may raise, the particular before the general; `MasktuneError` speaks for itself."""

KNOWN: tuple[type[BaseException], ...] = (MasktuneError, *EXPLAINED)


def explain(error: BaseException) -> tuple[dict[str, Any], bool] | None:
    """The problem object and whether to try again; None for an error that nobody has foreseen."""
    if isinstance(error, MasktuneError):
        found: MasktuneError | None = error
    else:
        found = next(make(error) for kind, make in EXPLAINED.items() if isinstance(error, kind))
    if found is None:
        return None
    return found.to_problem(), isinstance(found, JobError) and found.retry
