"""The Celery process: light, and set as the reasons in `worker.celery` say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.notifications import RUN_JOB, SWEEP
from core.settings import Settings
from worker.celery import make_worker
from worker.runtime import Runtime
from worker.supervisor.supervisor import environment

REPO = Path(__file__).parents[3]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    opened = Runtime.open(Settings(data_dir=tmp_path, worker_slots=3))
    yield opened
    opened.close()


def test_there_is_no_torch_in_the_celery_process() -> None:
    program = "import sys, worker.__main__; print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_its_tasks_and_settings(runtime: Runtime) -> None:
    app = make_worker(runtime)
    assert {RUN_JOB, SWEEP} <= set(app.tasks)
    expected = {
        "task_ignore_result": True,
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "worker_pool": "threads",
        "worker_concurrency": 3,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "worker_disable_prefetch": False,  # for Redis alone; the folder has a step of its own
    }
    assert {name: app.conf[name] for name in expected} == expected
    assert app.steps["consumer"]


def test_redis_is_not_read_ahead(tmp_path: Path) -> None:
    runtime = Runtime.open(Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0"))
    app = make_worker(runtime)
    runtime.close()
    assert app.conf.worker_disable_prefetch
    assert app.conf.broker_transport_options["socket_timeout"] == 5.0


def test_every_slot_is_there_once(runtime: Runtime) -> None:
    assert sorted(runtime.slots.get() for _ in range(3)) == [0, 1, 2]
    assert runtime.slots.empty()


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
