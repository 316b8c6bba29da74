"""From whom the headers about a person are believed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.server.proxies import Proxies
from core.proxy_user import ProxyUser

PROXY = "10.1.1.1"
SENT = [(b"remote-user", b"alice"), (b"accept", b"*/*"), (b"remote-user", b""), (b"remote-groups", b"ml")]
NOTED = tuple(pair for pair in SENT if pair[0] != b"accept")


def noted(
    believed: str, peer: str | None, *, headers: list[tuple[bytes, bytes]] = SENT, kind: str = "http"
) -> Any:
    """What the application is told about the person behind a request from `peer`."""
    proxies = Proxies("10.0.0.0/8", ProxyUser("Remote-User", "Remote-Groups", believed))
    scope: dict[str, Any] = {"type": kind, "scheme": "http", "client": peer and (peer, 5), "headers": headers}
    asyncio.run(proxies.apply(scope))
    return scope.get("state", {}).get("identity")


@pytest.mark.parametrize(
    ("believed", "peer"),
    [(PROXY, PROXY), ("fd00::/8, 10.1.0.0/16", PROXY), ("fd00::/8", "fd00::2"), ("localhost", "127.0.0.1")],
)
def test_the_named_proxy_is_believed_and_passed_on_as_it_spoke(believed: str, peer: str) -> None:
    assert noted(believed, peer) == NOTED
    assert noted(believed, peer, kind="websocket") == NOTED


@pytest.mark.parametrize("peer", ["10.1.1.2", "127.0.0.1", "::1", "testclient", None])
@pytest.mark.parametrize("believed", [PROXY, "no-such-host.invalid"])
def test_nobody_else_is_believed(believed: str, peer: str | None) -> None:
    assert noted(believed, peer) is None


def test_a_client_that_claims_the_address_of_the_proxy_is_not_believed() -> None:
    """Another proxy, trusted for the client's address, reports whatever the client says."""
    claimed = [*SENT, (b"x-forwarded-for", PROXY.encode())]
    assert noted(PROXY, "10.1.1.9", headers=claimed) is None


def test_a_client_behind_the_proxy_is_believed_by_the_proxys_word() -> None:
    assert noted(PROXY, PROXY, headers=[*SENT, (b"x-forwarded-for", b"203.0.113.9")]) == NOTED


def test_a_proxy_that_names_nobody_says_nothing() -> None:
    assert noted(PROXY, PROXY, headers=[(b"accept", b"*/*")]) is None
