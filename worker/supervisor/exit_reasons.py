"""How an attempt can fail without a report from its child process, and what the job's owner is told."""

from __future__ import annotations

import errno
import signal
from dataclasses import dataclass

from core.errors import JobError

_HINTS = {
    signal.SIGKILL: "the machine probably ran out of memory; try a smaller batch_size or image_size, a "
    "smaller backbone, or a machine with more memory",
    signal.SIGBUS: "the shared memory is probably too small (docker: shm_size), or the disk is full",
    signal.SIGSEGV: "a native library crashed; see the worker's log",
}


@dataclass(frozen=True)
class AttemptFailure:
    """A failed attempt. The job's events report `how` each time; `problem` is its error in the end."""

    reason: str
    how: str
    hint: str

    def problem(self, crashes: int) -> dict[str, object]:
        """The error of a job whose attempts failed `crashes` times without finishing an epoch in between."""
        return JobError(
            self.reason,
            f"{self.how}, {crashes} times in a row without finishing an epoch: {self.hint}; then "
            "resume the job: it continues from its last checkpoint",
        ).to_problem()


def crashed(returncode: int | None) -> AttemptFailure:
    """The process ended unexpectedly; a negative `returncode` is the signal that ended it."""
    if returncode is not None and returncode < 0:
        number = signal.Signals(-returncode)
        how, hint = f"by {number.name}", _HINTS.get(number, "see the worker's log")
    else:
        how, hint = f"with exit code {returncode}", "see the worker's log for the reason"
    return AttemptFailure("child_crashed", f"the job's process ended {how}", hint)


def silent(seconds: float) -> AttemptFailure:
    """The process showed no sign of life for this many seconds and was ended."""
    return AttemptFailure(
        "child_crashed",
        f"the job's process showed no sign of life for {seconds:g} s and was ended",
        "a disk, a network or a driver probably hangs; the worker's log shows where the process stood "
        "(if it is merely slow, raise MASKTUNE_CHILD_SILENT_SECONDS)",
    )


def not_started(error: OSError) -> AttemptFailure:
    """This host could not start the process."""
    return AttemptFailure(
        "child_not_started",
        f"the job's process could not be started ({errno.errorcode.get(error.errno or 0, 'OSError')})",
        "the worker's host probably has no memory, processes or open files left; the worker's log has the "
        "full error",
    )


def supervision_problem(error: Exception) -> dict[str, object]:
    """The problem of a job that the worker could not supervise.
    Only the error's type is named, since its text may contain SQL, paths or addresses."""
    return JobError(
        "not_recorded",
        f"the worker could not record what the job reported ({type(error).__name__}); the worker's log has "
        "the full error. Fix its cause, then resume the job: it continues from its last checkpoint",
    ).to_problem()
