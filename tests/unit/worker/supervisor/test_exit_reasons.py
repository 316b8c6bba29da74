"""What the owner of a job is told when its process broke."""

from __future__ import annotations

import errno
import signal

import pytest

from worker.supervisor.exit_reasons import crashed, not_started, silent


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, ["SIGKILL", "memory", "batch_size"]),
        (-signal.SIGBUS, ["SIGBUS", "shm_size"]),
        (-signal.SIGFPE, ["SIGFPE", "log"]),
        (1, ["exit code 1", "log"]),
    ],
)
def test_a_crash_says_how_and_what_to_do(code: int, words: list[str]) -> None:
    broken = crashed(code)
    problem = broken.problem(3)
    assert problem["reason"] == "child_crashed"
    assert problem["type"] == "/problems/job-failed"
    assert all(word in str(problem["detail"]) for word in (*words, "3 times", "resume"))
    assert "times" not in broken.how, "it is told after the first one, too"


def test_a_process_that_hangs_is_told_as_one_that_hangs() -> None:
    problem = silent(1800.0).problem(3)
    assert problem["reason"] == "child_crashed"
    words = ("no sign of life for 1800 s", "3 times", "MASKTUNE_CHILD_SILENT_SECONDS", "resume")
    assert all(word in str(problem["detail"]) for word in words)


def test_a_process_that_could_not_be_started_says_why_and_no_path() -> None:
    error = OSError(errno.EAGAIN, "Resource temporarily unavailable", "/usr/bin/python")
    problem = not_started(error).problem(3)
    assert (problem["reason"], problem["type"]) == ("child_not_started", "/problems/job-failed")
    assert all(word in str(problem["detail"]) for word in ("EAGAIN", "3 times", "resume"))
    assert "python" not in str(problem["detail"])
