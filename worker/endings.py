"""How an attempt can break without a word of the child, and what its owner is told."""

from __future__ import annotations

import errno
import signal
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Broken:
    """An attempt that broke. Each time the job's events tell `how`; the last time its error tells all."""

    reason: str
    how: str
    hint: str

    def problem(self, crashes: int) -> dict[str, Any]:
        """That of a job whose attempts broke `crashes` times without an epoch of progress in between."""
        return JobError(
            self.reason,
            f"{self.how}, {crashes} times in a row without finishing an epoch: {self.hint}; then "
            "POST /jobs/{id}/resume: it goes on from its last checkpoint",
        ).to_problem()


def crashed(returncode: int | None) -> Broken:
    """The process ended: by itself, or by a signal where the code is negative."""
    if returncode is not None and returncode < 0:
        number = signal.Signals(-returncode)
        how, hint = f"by {number.name}", _HINTS.get(number, "see the worker's log")
    else:
        how, hint = f"with exit code {returncode}", "see the worker's log for the reason"
    return Broken("child_crashed", f"the job's process ended {how}", hint)


def silent(seconds: float) -> Broken:
    """The process gave no sign of life for so long, and was ended."""
    return Broken(
        "child_crashed",
        f"the job's process gave no sign of life for {seconds:g} s and was ended",
        "mostly a disk, a network or a driver does not answer; the worker's log tells where the process "
        "stood (for one that is merely slow, raise MASKTUNE_CHILD_SILENT_SECONDS)",
    )


def not_started(error: OSError) -> Broken:
    """This host could not start the process."""
    return Broken(
        "child_not_started",
        f"the job's process could not be started ({errno.errorcode.get(error.errno or 0, 'OSError')})",
        "mostly the worker's host has no memory, processes or open files left; the worker's log tells the "
        "whole error",
    )


def supervision_problem(error: Exception) -> dict[str, Any]:
    """The problem of a job that the worker itself could not go on with. Only the error's kind is told:
    its text may hold SQL, paths or addresses."""
    return JobError(
        "not_recorded",
        f"the worker could not write down what the job reported ({type(error).__name__}); the worker's log "
        "tells the whole error; once its cause is mended, POST /jobs/{id}/resume: the job goes on from its "
        "last checkpoint",
    ).to_problem()
