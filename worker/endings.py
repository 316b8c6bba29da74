"""How a child can end without a word, and what its owner is told."""

from __future__ import annotations

import errno
import signal
from typing import Any

from core.errors import JobError

STOPPED = 75
"""Exit code of a child that ended because it was asked to (EX_TEMPFAIL of sysexits.h)."""
ABANDONED = 76
"""Exit code of a child that ended because its supervisor was gone or its lease ran out."""

_HINTS = {
    signal.SIGKILL: "mostly the machine ran out of memory; try a smaller batch_size or image_size, a smaller "
    "backbone, or a machine with more memory",
    signal.SIGBUS: "mostly the shared memory is too small (docker: shm_size) or the disk is full",
    signal.SIGSEGV: "a native library broke; see the worker's log",
}


def crash_problem(returncode: int | None, crashes: int) -> dict[str, Any]:
    """The problem of a job whose process broke `crashes` times without an epoch of progress in between."""
    if returncode is not None and returncode < 0:
        number = signal.Signals(-returncode)
        how, hint = f"by {number.name}", _HINTS.get(number, "see the worker's log")
    else:
        how, hint = f"with exit code {returncode}", "see the worker's log for the reason"
    return JobError(
        "child_crashed",
        f"the job's process ended {how}, {crashes} times in a row without finishing an epoch: {hint}; "
        "then POST /jobs/{id}/resume: it goes on from its last checkpoint",
    ).to_problem()


def start_problem(error: OSError, crashes: int) -> dict[str, Any]:
    """The problem of a job whose process this host could not start `crashes` times."""
    return JobError(
        "child_not_started",
        f"the job's process could not be started ({errno.errorcode.get(error.errno or 0, 'OSError')}), "
        f"{crashes} times in a row: mostly the worker's host has no memory, processes or open files left; "
        "the worker's log tells the whole error; then POST /jobs/{id}/resume: it goes on from its last "
        "checkpoint",
    ).to_problem()


def supervision_problem(error: Exception) -> dict[str, Any]:
    """The problem of a job that the worker itself could not go on with. Only the error's kind is told:
    its text may hold SQL, paths or addresses."""
    return JobError(
        "not_recorded",
        f"the worker could not write down what the job reported ({type(error).__name__}); the worker's log "
        "tells the whole error; once its cause is mended, POST /jobs/{id}/resume: the job goes on from its "
        "last checkpoint",
    ).to_problem()
