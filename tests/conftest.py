"""Fixtures for all tests: real databases and stores that clean up after themselves."""

from __future__ import annotations

import gc
import logging
import os
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadFileScheduling

from tests import training_marker
from tests.costs import Costs
from tests.support import machine
from tests.support.machine import lacks
from tests.support.seeds import shifted
from tests.training_marker import TrainingMarker

if TYPE_CHECKING:  # the process that hands out tests needs none of these
    from core.session import Database
    from core.storage.artifacts import Artifacts
    from tests.support.jobs.golden import Golden
    from tests.support.stubborn_store import StubbornStore

# Set before torch is imported: there are as many parallel test files as cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.disable()  # until collection is done, which creates a million long-lived objects

_SHARED = "tests/acceptance/dashboard/"
"""The files of this folder share a service and a browser, so one process runs all but `_ALONE`."""
_ALONE = f"{_SHARED}test_flow.py"  # needs a service of its own


class _ByService(LoadFileScheduling):  # type: ignore[misc]  # xdist is untyped
    """Gives a process whole files, as `--dist=loadfile`, and files that share a service to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return _SHARED if file.startswith(_SHARED) and file != _ALONE else file


def pytest_addoption(parser: pytest.Parser) -> None:
    training_marker.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(machine)
    config.pluginmanager.register(Costs(config))
    config.pluginmanager.register(TrainingMarker(config))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m docs` and the like, leave out the files without that marker: to import all of them takes each
    process seven seconds. None where other rules decide."""
    needed = re.fullmatch(r"(?!not )(\w+)(?: and not \w+)*", config.option.markexpr)
    if needed is None or not collection_path.match("test_*.py"):
        return None
    return f"mark.{needed[1]}" not in collection_path.read_text(encoding="utf-8") or None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return _ByService(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no process is still busy with one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Exclude the objects created by collection from garbage collection, and collect less often than usual:
    Python's thresholds cost a tenth of the tests of routes.

    For each test pytest adds and removes six handlers at every logger that does not propagate: torch has 40.
    """
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger) and logger.name.partition(".")[0] == "torch":
            logger.propagate = True
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    gc.enable()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Use the same random numbers in every run, so that a random failure can be reproduced."""
    random.seed(shifted(0))
    if torch := sys.modules.get("torch"):
        # manual_seed would format the stack for each kind of device that is absent: a millisecond per test.
        torch.default_generator.manual_seed(shifted(0))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty, migrated database, on each of the two engines."""
    from tests.support.databases import empty_database

    with empty_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    from core.session import Database

    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    """The job that is trained once, for all processes of this run."""
    from tests.support.jobs.golden import golden_of  # loads torch

    return golden_of(tmp_path_factory)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    """An artifact store on the local disk."""
    from core.storage.artifacts import Artifacts

    return Artifacts(f"file://{tmp_path}/artifacts", cache=tmp_path / "cache")


@pytest.fixture
def stubborn() -> Iterator[type[StubbornStore]]:
    """Register `StubbornStore` for `stubborn://…` URLs."""
    import fsspec

    from tests.support.stubborn_store import StubbornStore

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
