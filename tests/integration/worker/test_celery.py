"""The Celery process: light, set as the reasons in `worker.celery` say, and only where there is a broker."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from celery.exceptions import Reject

from core.notifications import COMPUTE_SHARD, RUN_JOB
from core.settings import Settings
from tests.unit.worker.test_shard_tasks import TASK
from worker.celery import make_worker
from worker.runtime import Runtime, environment

REPO = Path(__file__).parents[3]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    opened = Runtime.open(Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0"))
    yield opened
    opened.close()


def test_its_task_wakes_the_slots(runtime: Runtime) -> None:
    make_worker(runtime).tasks[RUN_JOB]("job_1")
    assert runtime.wakeup.calls == 1


def test_a_shard_goes_to_a_slot_that_waits(runtime: Runtime) -> None:
    with ThreadPoolExecutor() as pool:
        task = pool.submit(runtime.shards.take, lambda _: True, 60)
        make_worker(runtime).tasks[COMPUTE_SHARD](TASK.to_json())
        assert task.result() == TASK


def test_a_shard_that_no_slot_takes_goes_back_to_the_queue(runtime: Runtime) -> None:
    with pytest.raises(Reject) as rejected:
        make_worker(runtime).tasks[COMPUTE_SHARD](TASK.to_json())
    assert rejected.value.requeue
    assert runtime.wakeup.calls == 1, "the slots were woken for it"


def test_a_child_is_told_the_settings_but_not_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASKTUNE_API_KEYS", "admin:secret")
    told = environment(Settings(data_dir=tmp_path, threads=3, lease_seconds=44.0))
    assert "MASKTUNE_API_KEYS" not in told
    assert "secret" not in " ".join(told.values())
    for name in set(told) - {"MASKTUNE_API_KEYS"}:
        monkeypatch.setenv(name, told[name])
    monkeypatch.delenv("MASKTUNE_API_KEYS")
    there = Settings()
    assert (there.data_dir, there.threads, there.lease_seconds) == (tmp_path, 3, 44.0)
