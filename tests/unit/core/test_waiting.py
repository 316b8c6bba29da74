"""What a queued job is said to wait for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.waiting import WORKER_SECONDS, Wait, waiting_for

SINCE = 100.0
QUEUED = Wait(position=1, running=0, since=SINCE, now=SINCE + 1, imports_alone=False)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "a worker"),
        ({"running": 1}, "a free worker: 1 job runs"),
        ({"running": 1200, "position": 2}, "a free worker: 1,200 jobs run, 1 job is before it"),
        ({"position": 4}, "a free worker: 3 jobs are before it"),
        (
            {"running": 1, "position": 3, "imports_alone": True},
            "a free worker: 1 import runs, 2 imports are before it",
        ),
        ({"since": None, "running": 2, "position": 2}, "its data set, which is being imported"),
        ({"since": 7261.0}, "its next attempt, at 02:01:01 UTC"),
        ({"since": 7261.0, "running": 2, "position": 2}, "its next attempt, at 02:01:01 UTC"),
    ],
)
def test_it_names_what_is_in_the_way(facts: dict[str, float | None], text: str) -> None:
    assert waiting_for(replace(QUEUED, **facts)) == text  # type: ignore[arg-type]  # of their fields' types


@pytest.mark.parametrize("position", [1, 5])
def test_a_worker_is_missed_only_where_nothing_has_run_for_a_while(position: int) -> None:
    long = replace(QUEUED, position=position, now=SINCE + WORKER_SECONDS + 1)
    assert "make sure that `masktune worker` is running" in waiting_for(long)
    assert "make sure" not in waiting_for(replace(long, running=1))
    assert "make sure" not in waiting_for(replace(long, now=SINCE + WORKER_SECONDS - 1))
