"""Who is in, by a key or by the word of a proxy, and the end of a page whose key is revoked."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, WebSocket, expect

from masktune import Client
from tests.acceptance.dashboard.conftest import served
from tests.acceptance.dashboard.visitor import Visitor

SETTINGS = {
    "API_KEYS": "admin:root",
    "PROXY_USER_HEADER": "Remote-User",
    "PROXY_USER_FROM": "127.0.0.1",
    "PROXY_GROUPS_HEADER": "Remote-Groups",
    "PROXY_SCOPES": "*=read,ml=train",
}
ASKS_FOR_A_KEY = "This service requires a key"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a key of its operator, which believes what loopback says of people."""
    with served(tmp_path_factory.mktemp("visitors"), **SETTINGS) as url:
        yield url


@pytest.fixture
def stranger(tab: Page, secured: str) -> Iterator[Visitor]:
    """A visitor of whom the service knows nothing yet."""
    visitor_of_tab = Visitor(tab, secured)
    yield visitor_of_tab
    tab.close()
    visitor_of_tab.stayed_here()


def enter(visitor: Visitor, key: str) -> None:
    visitor.goto("/ui/")
    visitor.page.get_by_label("Key").fill(key)
    visitor.button("Continue").click()


def who_is_in(visitor: Visitor) -> list[str]:
    return [text.strip() for text in visitor.page.locator(".visitor").all_inner_texts()]


def test_a_page_says_whose_key_it_has_and_forgets_it(stranger: Visitor, secured: str) -> None:
    with Client(secured, key="root") as client:
        key = client.keys.create("line 1, the third camera from the left", ["read"]).secret
    assert key is not None
    enter(stranger, key)
    expect(stranger.heading("Does your classifier")).to_be_visible()
    assert who_is_in(stranger) == ["Key: line 1, the third camera from the left"]
    stranger.looked_at("visitor")
    stranger.button("Forget key").click()
    expect(stranger.heading(ASKS_FOR_A_KEY)).to_be_visible()
    assert who_is_in(stranger) == []
    enter(stranger, "root")
    expect(stranger.heading("Does your classifier")).to_be_visible()
    assert who_is_in(stranger) == ["Key: the operator’s"]


def test_a_page_whose_key_is_revoked_ends_and_asks_for_another(stranger: Visitor, secured: str) -> None:
    """Its web socket too, at the next heartbeat."""
    sockets: list[WebSocket] = []
    stranger.page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108  # playwright marks it
    with Client(secured, key="root") as client:
        created_key = client.keys.create("line 2", ["read"])
        assert created_key.secret is not None
        enter(stranger, created_key.secret)
        expect(stranger.heading("Does your classifier")).to_be_visible()
        stranger.page.wait_for_function("window.did_handshake")
        open_socket = sockets[-1]
        assert not open_socket.is_closed()
        client.keys.revoke(created_key.id)
    expect(stranger.heading(ASKS_FOR_A_KEY)).to_be_visible()
    assert stranger.page.get_by_role("alert").inner_text().startswith("That key is not recognised")
    assert open_socket.is_closed()


@pytest.mark.parametrize("path", ["/ui/key", "/ui/upload/datasets", "/datasets", "/aliases/best/rollback"])
def test_a_form_of_another_site_cannot_act_as_the_person(secured: str, path: str) -> None:
    headers = {"Remote-User": "alice", "Remote-Groups": "ml", "Origin": "https://evil.example"}
    form = {"key": "", "name": "d", "source": "builtin:digits"}
    assert httpx.post(f"{secured}{path}", data=form, headers=headers, trust_env=False).status_code == 403
