"""A worker ends on SIGTERM, with all that it started, also while its database answers nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from core.session import Database
from core.settings import Settings
from masktune.contract.vocabulary import JobState
from tests.integration.worker.conftest import REPO, SCRIPTED, AddJob, JobOf
from tests.integration.worker.supervisor.test_supervisor import WATCH
from tests.support.proxies import PausingProxy
from tests.support.waits import wait_until
from worker.child_process import MARK
from worker.runtime import environment

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),
]

PROGRAM = """
import sys
from core.settings import Settings
from worker.main import serve
from worker.runtime import Runtime
sys.exit(serve(Runtime.open(Settings(), child=tuple(sys.argv[1:]))))
"""


@pytest.fixture
def proxy(database_url: str) -> Iterator[PausingProxy]:
    address = make_url(database_url)
    with closing(PausingProxy(str(address.host), address.port or 5432)) as opened:
        yield opened


@pytest.fixture
def worker(settings: Settings, database_url: str, proxy: PausingProxy) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with scripted children that reaches its database through the proxy."""
    address = make_url(database_url).set(host="127.0.0.1", port=proxy.port)
    slow = {"lease_seconds": 600.0, "database_url": address.render_as_string(hide_password=False)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *SCRIPTED],
        env=environment(settings.model_copy(update=slow)) | {"PYTHONPATH": REPO},
        cwd=settings.data_dir,
        stderr=(settings.data_dir / "worker.log").open("wb"),
    )
    yield process
    process.kill()
    process.wait()


def started_by(settings: Settings) -> list[int]:
    """Processes that carry the mark of a child, of workers with this data folder."""
    wanted, found = f"MASKTUNE_DATA_DIR={settings.data_dir}", []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                values = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                if wanted in values and any(value.startswith(f"{MARK}=") for value in values):
                    found.append(int(entry.name))
    return found


@pytest.mark.parametrize("hangs", [False, True])
def test_a_worker_ends_on_sigterm_with_all_that_it_started(
    hangs: bool,
    settings: Settings,
    proxy: PausingProxy,
    worker: subprocess.Popen[bytes],
    add_job: AddJob,
    job_of: JobOf,
) -> None:
    begun = ("say", {"type": "stage_started", "stage": "erm"})
    job_id = add_job([WATCH, ("ignore_sigterm", None), ("spawn_stray", None), begun, ("sleep", 600)])
    wait_until(lambda: job_of(job_id).stage is not None)
    assert len(started_by(settings)) == 2
    if hangs:
        proxy.pause()
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(3 * settings.control_seconds)  # by now the supervisor waits for an answer
    worker.terminate()
    assert worker.wait(60) == (1 if hangs else 0), (settings.data_dir / "worker.log").read_text()
    assert started_by(settings) == []
    assert job_of(job_id).state is (JobState.RUNNING if hangs else JobState.QUEUED)


def test_a_peer_that_vanished_is_noticed_though_something_was_sent_to_it(database: Database) -> None:
    """Keepalives are for idle connections; what is not acknowledged, TCP sends again for 15 minutes."""
    with database.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as copy:
            assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 25_000
