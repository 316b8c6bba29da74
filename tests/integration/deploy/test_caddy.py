"""The proxy of docker-compose.yml, restarted in front of a running API."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from core.queries import leases
from core.queries.leases import Lease
from core.session import Database
from core.settings import Settings
from masktune import Client
from masktune.contract.vocabulary import JobState
from tests.support.machine import needs
from tests.support.servers import Caddy, ServerProcess, free_port, wait_for_port
from tests.support.waits import wait_until

pytestmark = pytest.mark.faults


@pytest.fixture
def api_port(tmp_path: Path) -> Iterator[int]:
    """An API with its data in `tmp_path`, and no worker."""
    port = free_port()
    command = [sys.executable, "-m", "masktune.cli", "api", "--port", str(port)]
    api = ServerProcess("api", command, os.environ | {"MASKTUNE_DATA_DIR": str(tmp_path)}, tmp_path)
    api.start()
    wait_for_port(port, "the API")
    yield port
    assert api.end()


def test_who_follows_a_job_through_a_proxy_that_is_restarted_gets_each_event_once(
    api_port: int, tmp_path: Path
) -> None:
    needs("caddy")
    caddy = Caddy(tmp_path, os.environ, api=api_port)
    database = Database(Settings(data_dir=tmp_path).database)
    with ExitStack() as stack:
        stack.callback(database.close)
        stack.callback(caddy.kill)
        caddy.start()
        wait_for_port(caddy.port, "Caddy")
        client = stack.enter_context(Client(caddy.url))
        client.datasets.from_source("builtin:digits")
        with database.begin() as session:
            row = leases.claim(session, worker="test", lease_seconds=600)
            assert row is not None
        lease, received = Lease(row.id, row.token), list[int]()

        def follow() -> None:
            for event in client.jobs.events(lease.job_id):
                received.append(event.id)

        def is_received(number: int) -> bool:
            return received[-1:] == [number]

        follower = stack.enter_context(ThreadPoolExecutor(1)).submit(follow)
        for number in (3, 4, 5):  # behind `queued` and `running`
            with database.begin() as session:
                leases.log(session, lease, "a line")
            wait_until(partial(is_received, number))
            assert caddy.end(), "it had to be killed"
            caddy.start()
        with database.begin() as session:
            leases.end(session, lease, JobState.SUCCEEDED)
        follower.result(60)
    assert received == [1, 2, 3, 4, 5, 6]
