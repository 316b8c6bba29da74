"""The Celery process: light, set as the reasons in `worker.celery` say, and only where there is a broker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.notifications import RUN_JOB
from core.settings import Settings
from worker.celery import make_worker
from worker.runtime import Runtime
from worker.supervisor.supervisor import environment

REPO = Path(__file__).parents[3]


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    opened = Runtime.open(Settings(data_dir=tmp_path, broker_url="redis://127.0.0.1:1/0"))
    yield opened
    opened.close()


def test_the_worker_process_loads_neither_torch_nor_without_a_broker_celery() -> None:
    heavy = {"torch", "numpy", "celery", "kombu"}
    program = f"import sys, worker.__main__; print(sorted({heavy} & set(sys.modules)))"
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_its_task_wakes_the_slots(runtime: Runtime) -> None:
    make_worker(runtime).tasks[RUN_JOB]("job_1")
    assert runtime.wakeup.calls == 1


def test_the_worker_keeps_no_results_and_reconnects_for_ever(runtime: Runtime) -> None:
    app = make_worker(runtime)
    expected = {
        "task_ignore_result": True,
        "worker_pool": "solo",
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
    }
    assert {name: app.conf[name] for name in expected} == expected
    assert app.conf.broker_transport_options["socket_timeout"] == 5.0


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
