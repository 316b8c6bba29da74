"""The Celery process: light, set as the reasons in `worker.celery` say, and only where there is a broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from core.notifications import QUEUE, RUN_JOB
from core.settings import Settings
from tests.integration.worker.service import Service
from tests.support.brokers import redis_server
from tests.support.waits import PATIENCE, wait_until
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


JUNK = (b"no message", b"{}", b'{"body": "x"}', b'{"properties": {}}', b"[]")


@pytest.mark.slow
def test_what_is_no_message_in_the_queue_ends_no_worker(tmp_path: Path) -> None:
    with redis_server(tmp_path) as (url, _), redis.Redis.from_url(url) as client:
        service = Service(Settings(data_dir=tmp_path, broker_url=url, spare_children=False), dataset_id="")
        with closing(service):
            worker = service.start_worker()
            client.lpush(QUEUE, *JUNK)
            service.notifier.notify("job_1")
            wait_until(lambda: bool(worker.poll()) or client.llen(QUEUE) == 0)
            service.notifier.notify("job_2")
            wait_until(lambda: bool(worker.poll()) or client.llen(QUEUE) == 0, service.log)
            worker.terminate()
            assert worker.wait(PATIENCE) == 0, service.log()
        assert "Celery's consumer ended; it starts again" in (tmp_path / "worker.log").read_text()


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
