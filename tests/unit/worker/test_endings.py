"""What the owner of a job is told when its process broke."""

from __future__ import annotations

import signal

import pytest

from worker.endings import crash_problem


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
    problem = crash_problem(code, 3)
    assert problem["reason"] == "child_crashed"
    assert problem["type"] == "/problems/job-failed"
    assert all(word in problem["detail"] for word in (*words, "3 times", "resume"))
