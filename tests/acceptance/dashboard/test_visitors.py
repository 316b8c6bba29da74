"""Who is in, at a dashboard apart from its API: by a key, or by the word of a proxy; a key that is gone."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Page, WebSocket, expect

from tests.acceptance.dashboard.conftest import OPERATOR, Apart
from tests.acceptance.dashboard.visitor import Visitor

pytestmark = pytest.mark.browser

ASKS_FOR_A_KEY = "This service requires a key"


@pytest.fixture
def stranger(tab: Page, apart: Apart) -> Iterator[Visitor]:
    """A visitor of whom the service knows nothing yet."""
    visitor_of_tab = Visitor(tab, f"http://127.0.0.1:{apart.web}")
    yield visitor_of_tab
    tab.close()
    visitor_of_tab.stayed_here()


def enter(visitor: Visitor, key: str) -> None:
    visitor.fill("Key", key)
    visitor.button("Continue").click()


def who_is_in(visitor: Visitor) -> list[str]:
    return [text.strip() for text in visitor.page.locator(".visitor").all_inner_texts()]


def test_a_key_is_asked_for_and_kept_from_scripts_and_addresses(stranger: Visitor) -> None:
    page = stranger.page
    stranger.goto("/")
    expect(stranger.heading(ASKS_FOR_A_KEY)).to_be_visible()
    stranger.looked_at("key")
    enter(stranger, "wrong")
    expect(page.get_by_text("That key is not recognised")).to_be_visible()
    enter(stranger, "schlüssel")
    expect(page.get_by_text("That is not a valid key")).to_be_visible()
    enter(stranger, OPERATOR)
    expect(stranger.heading("Does your classifier")).to_be_visible()
    assert who_is_in(stranger) == ["Key: the operator’s"]
    assert page.evaluate("document.cookie.includes('secret')") is False
    assert [url for url in stranger.asked if OPERATOR in url] == []

    # --- what is too large is refused before it is sent
    expect(page.get_by_text("zip, tar, tar.gz or tar.zst, up to 5 kB")).to_be_visible()
    page.locator("#dataset-drop input[type=file]").set_input_files(
        {"name": "large.zip", "mimeType": "application/zip", "buffer": bytes(6_000)}
    )
    says = page.locator("#dataset-drop.failed .drop-status")
    expect(says).to_have_text("This file has 6 kB, but the service accepts at most 5 kB.")
    stranger.looked_at("too-large")


def test_a_page_whose_key_is_revoked_ends_and_asks_for_another(stranger: Visitor, apart: Apart) -> None:
    """Its web socket too, at the next heartbeat."""
    sockets: list[WebSocket] = []
    stranger.page.on("websocket", lambda socket: sockets.append(socket))  # noqa: PLW0108  # playwright marks it
    with apart.client() as client:
        created_key = client.keys.create("line 1, the third camera from the left", ["read"])
        assert created_key.secret is not None
        stranger.goto("/ui/")
        enter(stranger, created_key.secret)
        expect(stranger.heading("Does your classifier")).to_be_visible()
        assert who_is_in(stranger) == ["Key: line 1, the third camera from the left"]
        stranger.looked_at("visitor")
        stranger.button("Forget key").click()
        expect(stranger.heading(ASKS_FOR_A_KEY)).to_be_visible()
        assert who_is_in(stranger) == []
        enter(stranger, created_key.secret)
        expect(stranger.heading("Does your classifier")).to_be_visible()
        stranger.page.wait_for_function("window.did_handshake")
        open_socket = sockets[-1]
        assert not open_socket.is_closed()
        client.keys.revoke(created_key.id)
    expect(stranger.heading(ASKS_FOR_A_KEY)).to_be_visible()
    assert stranger.page.get_by_role("alert").inner_text().startswith("That key is not recognised")
    assert open_socket.is_closed()


def test_a_form_of_another_site_cannot_act_as_the_person(apart: Apart, service: str) -> None:
    headers = {"Remote-User": "alice", "Remote-Groups": "vision", "Origin": "https://evil.example"}
    form = {"key": "", "name": "d", "source": "builtin:digits"}
    for url in (
        f"{service}/ui/key",
        f"http://127.0.0.1:{apart.web}/ui/key",
        f"http://127.0.0.1:{apart.web}/ui/upload/datasets",
        f"http://127.0.0.1:{apart.api}/datasets",
        f"http://127.0.0.1:{apart.api}/aliases/best/rollback",
    ):
        assert httpx2.post(url, data=form, headers=headers, trust_env=False).status_code == 403, url


def test_the_dashboard_has_the_name_by_which_a_proxy_calls_it(apart: Apart) -> None:
    named = {"Host": "masktune.example"}
    assert httpx2.get(f"http://127.0.0.1:{apart.web}/ui/", headers=named, trust_env=False).status_code == 200
