"""Whose word counts for the client's address and scheme."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.server.proxies import Proxies
from core.proxy_user import ProxyUser

CLIENT = "203.0.113.9"


def reported(trusted: str, peer: str, addresses: str = f"198.51.100.1, {CLIENT}") -> tuple[str, str]:
    """The client and scheme that the application sees of a request from `peer`, which reports these."""
    headers = [(b"x-forwarded-for", addresses.encode()), (b"x-forwarded-proto", b"https")]
    scope: dict[str, Any] = {"type": "http", "scheme": "http", "client": (peer, 5), "headers": headers}
    asyncio.run(Proxies(trusted, ProxyUser()).apply(scope))
    return scope["client"][0], scope["scheme"]


@pytest.mark.parametrize("trusted", ["10.1.1.1", "::1, 10.1.1.1", "10.1.0.0/16"])
def test_a_trusted_proxy_is_believed(trusted: str) -> None:
    assert reported(trusted, "10.1.1.1") == (CLIENT, "https")


@pytest.mark.parametrize("trusted", ["", "10.1.1.2", "10.2.0.0/16", "no-such-host.invalid"])
def test_nobody_else_is_believed(trusted: str) -> None:
    assert reported(trusted, "10.1.1.1") == ("10.1.1.1", "http")


def test_a_proxy_may_be_given_by_its_name() -> None:
    assert reported("localhost", "127.0.0.1") == (CLIENT, "https")
    assert reported("localhost", "10.1.1.1") == ("10.1.1.1", "http")


@pytest.mark.parametrize(
    "text", ["nobody", "203.0.113.9<br>", "unknown, admin", "fe80::1%<b>anything</b>", "[203.0.113.9", "::g"]
)
def test_what_is_no_address_is_not_believed(text: str) -> None:
    """Else the audit log, which shows it, would have any text of whoever reaches a proxy that hands it on."""
    assert reported("10.1.1.1", "10.1.1.1", text) == ("10.1.1.1", "https")


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        (f"{CLIENT}:8080", CLIENT),
        (f"nobody, {CLIENT}", CLIENT),
    ],
)
def test_an_address_is_believed_in_each_spelling(text: str, client: str) -> None:
    assert reported("10.1.1.1", "10.1.1.1", text) == (client, "https")
