"""One service for all of these tests, without access to published weights, and one browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from masktune import Client
from tests.acceptance.dashboard.visitor import WIDE, Visitor
from tests.support.browser import FLAGS, chromium
from tests.support.jobs.golden import Golden
from tests.support.machine import needs
from tests.support.processes import Processes, address, answers, started
from tests.support.servers import free_port
from tests.support.waits import PATIENCE

OFFLINE = "http://127.0.0.1:9"
"""A proxy address that refuses connections, so that no machine can fetch published weights."""
OPERATOR = "a-secret-of-the-test"
QUICK_HEARTBEAT = (
    sys.executable,
    "-c",
    "from web.transport import connection; connection.HEARTBEAT_SECONDS = 1.0; "
    "from masktune.cli.main import main; main()",
)
"""The command `masktune` with a shorter wait than its fifteen seconds."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    needs("chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="package")
def window(browser: Browser) -> BrowserContext:
    """A window whose first tab stays open.

    A tab of an open window costs half the CPU time of a window of its own, which also has to read all scripts
    anew: 0.9 s instead of 1.7 s with two pages.
    """
    opened = browser.new_context(viewport=WIDE)
    opened.new_page()
    return opened


@pytest.fixture
def tab(window: BrowserContext) -> Iterator[Page]:
    """A new tab without cookies; the dashboard keeps nothing else in a browser."""
    window.clear_cookies()
    opened = window.new_page()
    yield opened
    opened.close()


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dashboard")


@pytest.fixture(scope="package")
def service(folder: Path, browser: Browser, golden: Golden) -> Iterator[str]:
    """`masktune serve` for all of these tests, beside the golden job, without access to published weights."""
    golden.copy(folder / "var")
    with served(folder) as url:
        yield url


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Run `masktune serve` without access to published weights; assert that it leaves no process behind."""
    made = Processes(folder)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patched.setenv(name, OFFLINE)
        patched.setenv("TORCH_HOME", str(folder / "torch"))
        serve = made.masktune("serve", "--port", "0", "--data-dir", str(folder / "var"))
    try:
        yield address(serve)
        serve.terminate()
        assert serve.wait(PATIENCE) == 0
        assert made.left() == []
    finally:
        serve.kill()
        serve.wait()
        assert serve.stdout is not None
        serve.stdout.close()


class Apart(NamedTuple):
    """The ports of an API and of a dashboard in a process of its own."""

    api: int
    web: int

    def client(self) -> Client:
        """A client of the API with the key of its operator."""
        return Client(f"http://127.0.0.1:{self.api}", key=OPERATOR)


@pytest.fixture(scope="package")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    """Both believe what loopback says of people; the dashboard asks every second whether keys are valid."""
    folder, ports = tmp_path_factory.mktemp("apart"), Apart(free_port(), free_port())
    names = {"PROXY_USER_HEADER": "Remote-User", "PROXY_GROUPS_HEADER": "Remote-Groups"}
    names["PROXY_USER_FROM"] = "127.0.0.1"
    scopes = "*=read,vision=train,operators=admin"
    limits = {"API_KEYS": f"admin:{OPERATOR}", "PROXY_SCOPES": scopes, "MAX_UPLOAD_BYTES": "5000"}
    with started(Processes(folder)) as api, started(Processes(folder, QUICK_HEARTBEAT)) as web:
        api.masktune("api", PORT=str(ports.api), **limits, **names)
        web.masktune("web", URL=f"http://127.0.0.1:{ports.api}", WEB_PORT=str(ports.web), **names)
        for part, port in zip((api, web), ports, strict=True):
            part.wait_until(partial(answers, f"http://127.0.0.1:{port}", "/livez"))
        yield ports


@pytest.fixture
def visitor(tab: Page, service: str) -> Iterator[Visitor]:
    tab.set_default_timeout(1000 * PATIENCE)
    made = Visitor(tab, service)
    yield made
    tab.close()
    made.stayed_here()


@pytest.fixture(scope="package")
def dataset(service: str, golden: Golden) -> str:
    """The id of a data set of digits."""
    return golden.dataset


@pytest.fixture(scope="package")
def model(service: str, golden: Golden) -> str:
    """The id of a model that was trained on it."""
    return golden.models["erm"]
