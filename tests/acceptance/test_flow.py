"""The main job on each way to run the service: embedded, PostgreSQL and Redis (Compose: `test_compose`)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.flow import flow
from tests.support.brokers import redis_server
from tests.support.databases import postgres_database
from tests.support.processes import Processes, address, answers
from tests.support.servers import free_port
from tests.support.waits import PATIENCE

pytestmark = [pytest.mark.slow]


class Service(NamedTuple):
    """Where it is, and a key with every scope."""

    url: str
    key: str | None


@contextmanager
def embedded(processes: Processes, folder: Path) -> Iterator[Service]:
    """`masktune serve`: SQLite, a broker in a folder, one parent; graphs take over as they do for users."""
    serve = processes.masktune("serve", "--port", "0", "--data-dir", str(folder / "var"), ENGINE="auto")
    yield Service(address(serve), None)


@contextmanager
def separate(processes: Processes, folder: Path) -> Iterator[Service]:
    """The API and a worker alone, on PostgreSQL and Redis, by settings alone and behind a key."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres_database())
        (folder / "redis").mkdir()
        broker, _ = stack.enter_context(redis_server(folder / "redis", "--appendonly", "yes"))
        port, key = free_port(), secrets.token_hex(16)
        settings = {
            "DATABASE_URL": database,
            "BROKER_URL": broker,
            "STORAGE_URL": f"file://{folder}/artifacts",
            "DATA_DIR": str(folder / "var"),
            "API_KEYS": f"admin:{key}",
        }
        # Started at the same moment: each of them brings the schema up to date.
        parts = [
            processes.masktune("api", "--port", str(port), **settings),
            processes.masktune("worker", **settings),
        ]
        url = f"http://127.0.0.1:{port}"
        processes.wait_until(lambda: answers(url))
        yield Service(url, key)
        for part in parts:
            part.terminate()
        assert [part.wait(PATIENCE) for part in parts] == [0, 0]
        assert processes.left() == []


Start = Callable[[Processes, Path], AbstractContextManager[Service]]


@pytest.mark.parametrize("start", [embedded, separate])
def test_the_main_job(start: Start, processes: Processes, tmp_path: Path) -> None:
    """What is learned is the same on both: embedded, it is trained until masking has helped."""
    with start(processes, tmp_path) as service:
        flow(service.url, tmp_path, key=service.key, learns=start is embedded)
