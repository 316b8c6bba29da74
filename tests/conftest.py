"""Fixtures for all tests: factories of real databases, brokers and stores that clean up after themselves."""

from __future__ import annotations

import atexit
import gc
import os
import random
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import create_engine, text
from xdist.scheduler import LoadFileScheduling

from core import schema
from core.session import Database
from core.storage.artifacts import Artifacts
from tests.costs import Costs, pytest_addoption
from tests.support import machine
from tests.support.machine import lacks, needs
from tests.support.servers import Postgres, answers, free_port, wait_for_port

if TYPE_CHECKING:
    from tests.integration.golden import Golden

# Set before torch is imported: there are as many parallel test files as cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.disable()  # until collection is done, which creates a million long-lived objects

__all__ = ["free_port", "postgres_database", "pytest_addoption", "redis_server", "sqlite_database"]

POSTGRES = "postgresql+psycopg://root@127.0.0.1:5432"
REDIS_PORT = 6379


_SHARED = "tests/acceptance/dashboard/"
"""The files of this folder share a service and a browser, so one process runs all but `_ALONE`."""
_ALONE = f"{_SHARED}test_flow.py"  # needs a service of its own


class _ByService(LoadFileScheduling):  # type: ignore[misc]  # xdist is untyped
    """Gives a process whole files, as `--dist=loadfile`, and files that share a service to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return _SHARED if file.startswith(_SHARED) and file != _ALONE else file


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(machine)
    config.pluginmanager.register(Costs(config))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return _ByService(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no process is still busy with one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Exclude the objects created by collection from garbage collection."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Use the same random numbers in every run, so that a random failure can be reproduced."""
    random.seed(0)
    if torch := sys.modules.get("torch"):
        # manual_seed would format the stack for each kind of device that is absent: a millisecond per test.
        torch.default_generator.manual_seed(0)


@cache
def _postgres() -> str:
    """The address, without a database name, of this machine's PostgreSQL server or of one started here."""
    if answers(5432):
        return POSTGRES
    started = Postgres(durable=False)
    atexit.register(started.end)
    return started.server


@contextmanager
def postgres_database(template: str = "template1") -> Iterator[str]:
    """Create a new database on this machine's PostgreSQL or on one started here; drop it at the end."""
    needs("postgresql")
    server = _postgres()
    name = f"masktune_test_{uuid.uuid4().hex[:12]}"
    admin = create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    try:
        yield f"{server}/{name}"
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        admin.dispose()


@cache
def _migrated_postgres() -> str:
    """The name of a migrated database to copy: to migrate each takes longer than most tests."""
    stack = ExitStack()
    atexit.register(stack.close)
    url = stack.enter_context(postgres_database())
    schema.upgrade(url)
    return url.rpartition("/")[2]


@cache
def _migrated_sqlite() -> bytes:
    with TemporaryDirectory() as folder:
        schema.upgrade(f"sqlite:///{folder}/masktune.db")
        return Path(folder, "masktune.db").read_bytes()


def sqlite_database(folder: Path) -> str:
    """Put a migrated database where the service has its own in the data folder, and return its URL."""
    folder.mkdir(exist_ok=True)
    file = folder / "masktune.db"
    file.write_bytes(_migrated_sqlite())
    return f"sqlite:///{file}"


@contextmanager
def redis_server(folder: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a separate redis-server, which the test may kill. Yields (address, process)."""
    needs("redis-server")
    port = free_port()
    where = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder))
    process = subprocess.Popen(["redis-server", *where, "--save", "", *arguments], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port, "Redis")
        yield f"redis://127.0.0.1:{port}/0", process
    finally:
        process.kill()
        process.wait()


@contextmanager
def empty_database(engine: str, folder: Path) -> Iterator[str]:
    """The URL of an empty, migrated database: `sqlite` in this folder, or `postgresql`."""
    if engine == "sqlite":
        yield sqlite_database(folder)
    else:
        needs("postgresql")
        with postgres_database(_migrated_postgres()) as url:
            yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty, migrated database, on each of the two engines."""
    with empty_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """The job that is trained once, for all processes of this run."""
    from tests.integration.golden import golden_of  # loads torch

    return golden_of(tmp_path_factory)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    """An artifact store on the local disk."""
    return Artifacts(f"file://{tmp_path}/artifacts", cache=tmp_path / "cache")


class StubbornStore(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An object store whose deletions fail while it is `stuck`, as if it were unavailable.

    `stuck` may also be a substring of the paths that it does not delete.
    """

    protocol = "stubborn"
    stuck: bool | str = False
    refused = 0

    def rm(self, path: str, recursive: bool = False, maxdepth: int | None = None) -> None:
        self._refuse(path)
        super().rm(path, recursive=recursive, maxdepth=maxdepth)

    def rm_file(self, path: str) -> None:
        self._refuse(path)
        super().rm_file(path)

    def _refuse(self, path: str) -> None:
        kind = type(self)
        if kind.stuck is True or (kind.stuck and kind.stuck in path):
            kind.refused += 1
            raise ConnectionError("the store is away")


@pytest.fixture
def stubborn() -> Iterator[type[StubbornStore]]:
    """Register `StubbornStore` for `stubborn://…` URLs."""
    fsspec.register_implementation("stubborn", StubbornStore, clobber=True)
    yield StubbornStore
    StubbornStore.stuck, StubbornStore.refused = False, 0


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """An empty folder on a different file system from `tmp_path`."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        lacks("second file system")
    with TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)
