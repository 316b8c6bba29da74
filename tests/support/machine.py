"""What tests need of the machine: one table, one function that skips, one line per cause at the end of a run.

    not tested: 34 tests of the dashboard in a browser — apt-get install chromium

With `CI` in the environment a test that was skipped fails, except for what no command can bring.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from tests.support.browser import chromium
from tests.support.servers import answers


class Need(NamedTuple):
    """Something that the machine may lack."""

    tests: str
    """What is not tested without it, as in "34 tests of the dashboard"."""
    remedy: str
    """The command that brings it; of what no command brings, where it is."""
    there: Callable[[], bool]
    to_be_had: bool = True
    """Whether a command brings it: what cannot be had does not fail CI."""

    @property
    def reason(self) -> str:
        return f"{self.tests} — {self.remedy}"


def _programs(*names: str) -> Callable[[], bool]:
    return lambda: all(map(shutil.which, names))


def _succeeds(*command: str) -> Callable[[], bool]:
    return lambda: (
        shutil.which(command[0]) is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


_POSTGRES = _programs("initdb", "pg_ctl", *(["runuser"] if os.geteuid() == 0 else []))
_INSTALL_POSTGRES = "apt-get install postgresql && export PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)"
_INSTALL_DOCKER = "apt-get install docker.io docker-cli docker-buildx docker-compose"

NEEDS = {
    "chromium": Need("of the dashboard in a browser", "apt-get install chromium", lambda: bool(chromium())),
    "kustomize": Need(
        "of the manifests that kustomize makes",
        "apt-get install kustomize",
        lambda: any(map(shutil.which, ("kustomize", "kubectl"))),
    ),
    "redis-server": Need("with Redis", "apt-get install redis-server", _programs("redis-server")),
    "postgresql": Need("with PostgreSQL", _INSTALL_POSTGRES, lambda: answers(5432) or _POSTGRES()),
    "pg_dump": Need(
        "of PostgreSQL's own tools", "apt-get install postgresql-client", _programs("pg_dump", "pg_restore")
    ),
    "docker compose": Need(
        "of the Compose files",
        _INSTALL_DOCKER,
        _succeeds("docker", "compose", "version"),
    ),
    "docker engine": Need(
        "of the image and of containers", f"{_INSTALL_DOCKER} && dockerd &", _succeeds("docker", "info")
    ),
    "bash and curl": Need(
        "of the commands in the documentation", "apt-get install bash curl", _programs("bash", "curl")
    ),
    "sphinx": Need(
        "of the documentation's pages", "pip install --group docs", lambda: find_spec("sphinx") is not None
    ),
    "caddy": Need("of the proxy", "apt-get install caddy", _programs("caddy")),
    "mount": Need(
        "of a full disk",
        "run as root, in a container with --privileged",
        lambda: os.geteuid() == 0 and shutil.which("mount") is not None,
    ),
    "second file system": Need(
        "of moves between file systems", "mount -t tmpfs tmpfs /dev/shm", Path("/dev/shm").is_dir
    ),
    "/dev/full": Need("of output to a full disk", "on Linux", Path("/dev/full").exists, to_be_had=False),
    "glibc": Need("of memory", "with glibc", lambda: sys.platform.startswith("linux"), to_be_had=False),
    "names in bytes": Need(
        "of file names in other encodings", "on a file system that takes them", lambda: True, to_be_had=False
    ),
    "rounding by threads": Need(
        "of sums in threads", "on a processor that rounds by their number", lambda: True, to_be_had=False
    ),
}


def needs(name: str) -> None:
    """Skip the test if the machine lacks this."""
    if not NEEDS[name].there():
        lacks(name)


def lacks(name: str) -> NoReturn:
    """Skip the test: it has found out by itself that the machine lacks this."""
    pytest.skip(NEEDS[name].reason)


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped; pytest gives (file, line, "Skipped: reason")."""
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr).removeprefix(
        "Skipped: "
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, make a failure of a skipped test."""
    report = yield
    excused = {need.reason for need in NEEDS.values() if not need.to_be_had}
    if report.skipped and os.environ.get("CI") and _reason(report) not in excused:
        report.longrepr = f"CI skips nothing, and this machine skips tests {_reason(report)}"
        report.outcome = "failed"
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say in one line per cause what was not tested, and the command that would change it."""
    counts = Counter(_reason(report) for report in terminalreporter.stats.get("skipped", ()))
    for reason, count in counts.most_common():
        terminalreporter.write_line(f"not tested: {count} test{'s' * (count > 1)} {reason}", yellow=True)
