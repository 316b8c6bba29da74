"""One service for all of these tests, without access to published weights, and one browser."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from sklearn.datasets import load_digits

from tests.acceptance.conftest import Processes, address
from tests.acceptance.dashboard.visitor import WIDE, Visitor
from tests.integration.golden import Golden
from tests.machine import needs
from tests.support.browser import FLAGS, chromium
from tests.support.waits import PATIENCE

OFFLINE = "http://127.0.0.1:9"
"""A proxy address that refuses connections, so that no machine can fetch published weights."""


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
def served(folder: Path, **settings: str) -> Iterator[str]:
    """Run `masktune serve` with these settings and without access to published weights; assert that it leaves
    no process behind."""
    made = Processes(folder)
    with pytest.MonkeyPatch.context() as patched:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patched.setenv(name, OFFLINE)
        patched.setenv("TORCH_HOME", str(folder / "torch"))
        serve = made.masktune("serve", "--port", "0", "--data-dir", str(folder / "var"), **settings)
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


@pytest.fixture
def visitor(tab: Page, service: str) -> Iterator[Visitor]:
    tab.set_default_timeout(1000 * PATIENCE)
    made = Visitor(tab, service)
    yield made
    tab.close()
    made.stayed_here()


@pytest.fixture(scope="package")
def archive(folder: Path) -> Path:
    """A zip of 200 digits with a red square on every 0-4, in one folder per class."""
    target = folder / "digits.zip"
    pixels, digits = load_digits(return_X_y=True)
    with zipfile.ZipFile(target, "w") as zipped:
        for number in range(200):
            side = Image.fromarray((pixels[number].reshape(8, 8) * 15).astype("uint8")).resize((28, 28))
            picture = side.convert("RGB")
            if digits[number] < 5:
                picture.paste((255, 0, 0), (0, 0, 4, 4))
            data = io.BytesIO()
            picture.save(data, "PNG")
            zipped.writestr(f"{'0-4' if digits[number] < 5 else '5-9'}/{number:03d}.png", data.getvalue())
    return target


@pytest.fixture(scope="package")
def dataset(service: str, golden: Golden) -> str:
    """The id of a data set of digits."""
    return golden.dataset


@pytest.fixture(scope="package")
def model(service: str, golden: Golden) -> str:
    """The id of a model that was trained on it."""
    return golden.models["erm"]
