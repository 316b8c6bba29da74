"""The page in examples/, served from another origin, asks a service with a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.acceptance.dashboard.conftest import OPERATOR
from tests.acceptance.dashboard.visitor import png
from tests.support.jobs.golden import Golden
from tests.support.processes import ROOT, Processes, answers
from tests.support.servers import free_port
from tests.support.waits import PATIENCE

pytestmark = pytest.mark.browser


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[str]:
    """The origin of a server of the examples."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(ROOT / "examples"))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_the_example_page_shows_decisions_and_refusals(
    tab: Page, site: str, golden: Golden, processes: Processes, tmp_path: Path
) -> None:
    golden.copy(tmp_path / "var")
    service = f"http://127.0.0.1:{(port := free_port())}"
    processes.masktune("api", PORT=str(port), API_KEYS=f"predict:{OPERATOR}", ALLOWED_ORIGINS=site)
    processes.wait_until(partial(answers, service, "/livez"))
    tab.set_default_timeout(1000 * PATIENCE)
    tab.goto(f"{site}/predict.html")
    for label, text in (("Service", service), ("Key", OPERATOR), ("Model", golden.models["erm"])):
        tab.get_by_label(label).fill(text)
    image: FilePayload = {"name": "a.png", "mimeType": "image/png", "buffer": png((37, 41))}
    decision = tab.locator("#decision")
    tab.get_by_label("Image").set_input_files(image)
    expect(decision).to_have_text(re.compile(r"with a confidence of [01]\.\d{3}$|^The model abstains\.$"))
    tab.get_by_label("Key").fill("wrong")
    tab.get_by_label("Image").set_input_files([])
    tab.get_by_label("Image").set_input_files(image)
    expect(decision).to_contain_text("(request ")  # the problem's detail, and a header of the answer
    tab.goto(f"{site.replace('127.0.0.1', 'localhost')}/predict.html")
    tab.get_by_label("Service").fill(service)
    tab.get_by_label("Image").set_input_files(image)
    expect(decision).to_contain_text("MASKTUNE_ALLOWED_ORIGINS")
