"""People who sign in at the proxy of `docker compose up` as the guide says, and clients that claim a name.

The Caddyfile and the guide's example run as they are, but for the addresses.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.dashboard.conftest import OPERATOR, Apart
from tests.acceptance.dashboard.visitor import Visitor
from tests.support.machine import needs
from tests.support.processes import ROOT
from tests.support.servers import Caddy, wait_for_port

pytestmark = pytest.mark.browser

GUIDE = ROOT / "docs/how-to/single-sign-on.md"
CLAIM = {"Remote-User": "root", "Remote-Groups": "operators"}
ASKS_FOR_A_KEY = "This service requires a key"
SESSIONS = {"s-alice": {"Remote-User": "alice", "Remote-Groups": "staff,vision"}, "s-nobody": {}}
"""What the identity provider says of each session: of the last one, that it is valid, and no name."""


class Provider(BaseHTTPRequestHandler):
    """An identity provider with its sessions in a cookie."""

    def do_GET(self) -> None:
        session = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        person = SESSIONS.get(session.value) if session else None
        assert "root" not in self.headers.values(), "what the client claims of itself comes this far"
        self.send_response(401 if person is None else 200)
        for name, text in (person or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep requests out of the test output."""


@contextmanager
def provider() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_port
        server.shutdown()


def example() -> str:
    """The guide's example of what people sign in with."""
    (text,) = re.findall(r"```text\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return str(text)


@contextmanager
def proxied(folder: Path, parts: dict[str, int], sign_in: str = "") -> Iterator[str]:
    """The address of the proxy, at which people sign in so, or not at all."""
    folder.mkdir()
    caddy = Caddy(folder, os.environ, sign_in=sign_in, **parts)
    caddy.start()
    try:
        wait_for_port(caddy.port, "Caddy")
        yield caddy.url
    finally:
        caddy.end()


@pytest.fixture(scope="module")
def parts(apart: Apart) -> Iterator[dict[str, int]]:
    """The ports of the API, the dashboard and the provider."""
    needs("caddy")
    with provider() as authelia:
        yield {**apart._asdict(), "authelia": authelia}


@pytest.fixture(scope="module")
def proxy(parts: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address at which people sign in."""
    with proxied(tmp_path_factory.mktemp("caddy") / "guide", parts, example()) as url:
        yield url


def status(url: str, path: str = "/datasets", session: str = "", **headers: str) -> int:
    cookie = {"Cookie": f"session={session}"} if session else {}
    return httpx2.get(f"{url}{path}", headers=cookie | headers, trust_env=False, timeout=30).status_code


def test_people_are_whom_the_provider_names(proxy: str) -> None:
    assert status(proxy) == 401, "of the provider"
    assert status(proxy, session="s-alice") == 200
    assert status(proxy, "/audit", session="s-alice") == 403


def test_a_client_cannot_name_itself(proxy: str) -> None:
    assert status(proxy, "/audit", **CLAIM) == 401
    assert status(proxy, "/audit", session="s-alice", **CLAIM) == 403, "the provider's word, and no other"
    assert status(proxy, session="s-nobody", **CLAIM) == 401, "nor where the provider says nothing"


def test_programs_pass_with_a_key_and_have_no_name(proxy: str) -> None:
    assert status(proxy, "/audit", **{"X-API-Key": OPERATOR}) == 200
    assert status(proxy, **CLAIM, **{"X-API-Key": "wrong"}) == 401
    assert status(proxy, **CLAIM, Authorization="Basic YTpi") == 401


def test_a_proxy_at_which_nobody_signs_in_drops_what_clients_claim(
    parts: dict[str, int], tmp_path: Path
) -> None:
    with proxied(tmp_path / "plain", parts) as url:
        assert status(url, "/audit", **CLAIM) == 401
        assert status(url, "/audit", **{"X-API-Key": OPERATOR}) == 200


def test_the_dashboard_passes_the_person_on(tab: Page, proxy: str, apart: Apart) -> None:
    """A page's web socket too comes through the proxy."""
    tab.context.add_cookies([{"name": "session", "value": "s-alice", "url": proxy}])
    visitor = Visitor(tab, proxy)
    visitor.goto("/ui/")
    expect(tab.locator(".visitor")).to_have_text("alice")
    visitor.button("Try a built-in data set").click()
    tab.wait_for_url("**/ui/datasets/ds_*")
    with apart.client() as client:
        (dataset,) = client.datasets.list()
    assert dataset.created_by == "user:alice"


def test_the_dashboard_passes_on_no_name_that_its_own_proxy_did_not_send(apart: Apart) -> None:
    """The API would believe the dashboard."""
    elsewhere = httpx2.HTTPTransport(local_address="127.0.0.2")
    with httpx2.Client(transport=elsewhere, headers=CLAIM, timeout=60) as stranger:
        assert ASKS_FOR_A_KEY in stranger.get(f"http://127.0.0.1:{apart.web}/ui/").text
        assert stranger.get(f"http://127.0.0.1:{apart.api}/audit").status_code == 401
    with httpx2.Client(headers=CLAIM, timeout=60, trust_env=False) as believed:
        assert ASKS_FOR_A_KEY not in believed.get(f"http://127.0.0.1:{apart.web}/ui/").text
