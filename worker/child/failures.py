"""The known failures of a stage, and what the job's owner can do about each.
Any other error is a crash."""

from __future__ import annotations

from core.errors import JobError, MasktuneError, StorageFull, StorageNotWritable, storage_fault
from core.storage.artifacts import ArtifactMissing, store_fault
from masktune.contract.hyperparameters.parameters import ConfigError
from models.errors import LearningError
from models.runtime.bounded import is_out_of_memory
from worker.protocol import Failed

_STORAGE: dict[type[MasktuneError], tuple[str, str]] = {
    StorageFull: (
        "storage_full",
        "the disk of the worker or of the artifacts is full; free some space, then "
        "resume the job: it continues from its last checkpoint",
    ),
    StorageNotWritable: (
        "storage_not_writable",
        "the worker cannot write to its folder or to the artifacts (read-only, or owned by another user); "
        "grant it access, then resume the job: it continues from its last checkpoint",
    ),
}


def _runtime_error(error: RuntimeError) -> MasktuneError | None:
    # torch has no exception class for a killed data loader process.
    hint = next((hint for words, hint in _LOADER_KILLED.items() if words in str(error)), None)
    if hint is None or "DataLoader worker" not in str(error):
        return None
    return JobError("out_of_memory", f"a process that decodes images was killed: {hint}", retry=True)


_LOADER_KILLED = {
    "signal: Killed": "the machine probably ran out of memory; use a smaller batch_size or image_size, or a "
    "machine with more memory",
    "signal: Bus error": "the shared memory is probably too small (docker: shm_size)",
}
"""Text of torch's error → its likely cause.
The job is retried, as when its whole process is killed."""


def _explanation(error: Exception) -> MasktuneError | None:
    match error:
        case MasktuneError():  # is its own explanation
            return error
        case _ if is_out_of_memory(error):
            return JobError(
                "out_of_memory",
                "the device ran out of memory; use a smaller batch_size or image_size, or a smaller backbone",
            )
        case ArtifactMissing():
            return JobError(
                "artifact_missing", f"the artifact {error} is gone from the store; rerun the job that made it"
            )
        case LearningError() | ConfigError():
            return JobError(error.reason, str(error))
        case OSError() if (kind := storage_fault(error)) is not None:
            reason, detail = _STORAGE[kind]
            return kind(detail, extra={"reason": reason})
        case RuntimeError():
            return _runtime_error(error)
        case _ if (fault := store_fault(error)) is not None:
            return JobError(
                "object_store",
                f"the object store fails or refuses ({fault}); see to it (masktune worker --check tries it), "
                "then resume the job: it continues from its last checkpoint",
                retry=True,
            )
    return None


def explain(error: Exception) -> Failed | None:
    """The message about a known failure; None for any other error."""
    explanation = _explanation(error)
    if explanation is None:
        return None
    return Failed(
        error=explanation.to_problem(), retry=isinstance(explanation, JobError) and explanation.retry
    )
