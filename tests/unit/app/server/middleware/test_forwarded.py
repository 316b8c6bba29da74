"""Whose word counts for the client's address and scheme."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from app.server.middleware.forwarded import TrustedProxies

CLIENT = "203.0.113.9"


def reported(trusted: str, peer: str) -> tuple[str, str]:
    """The client and scheme that the application sees of a request from `peer`."""
    seen: list[tuple[str, str]] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["client"][0], scope["scheme"]))

    async def nothing() -> Message:
        return {}

    async def nowhere(message: Message) -> None: ...

    headers = [(b"x-forwarded-for", f"198.51.100.1, {CLIENT}".encode()), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "scheme": "http", "client": (peer, 5), "headers": headers}

    async def ask() -> None:
        await TrustedProxies(application, trusted)(scope, nothing, nowhere)

    asyncio.run(ask())
    return seen[0]


@pytest.mark.parametrize("trusted", ["10.1.1.1", "::1, 10.1.1.1", "10.1.0.0/16"])
def test_a_trusted_proxy_is_believed(trusted: str) -> None:
    assert reported(trusted, "10.1.1.1") == (CLIENT, "https")


@pytest.mark.parametrize("trusted", ["", "10.1.1.2", "10.2.0.0/16", "no-such-host.invalid"])
def test_nobody_else_is_believed(trusted: str) -> None:
    assert reported(trusted, "10.1.1.1") == ("10.1.1.1", "http")


def test_a_proxy_may_be_given_by_its_name() -> None:
    assert reported("localhost", "127.0.0.1") == (CLIENT, "https")
    assert reported("localhost", "10.1.1.1") == ("10.1.1.1", "http")
