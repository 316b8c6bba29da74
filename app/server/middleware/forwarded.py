"""The client's address and scheme as the proxy in front reports them, believed from that proxy alone."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_RESOLVED_SECONDS = 10.0
"""How long the addresses of a name are used: a container that is made anew has another."""


class Forwarded:
    """Applies `X-Forwarded-For` and `X-Forwarded-Proto` of requests that come from a trusted proxy.

    `trusted`: addresses, networks and host names, separated by commas. Names are resolved when a request with
    such a header arrives; one that does not resolve is not trusted.
    """

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        self.app = app
        entries = [entry.strip() for entry in trusted.split(",") if entry.strip()]
        self._names = [entry for entry in entries if not _is_address(entry)]
        self._addresses = [entry for entry in entries if _is_address(entry)]
        self._resolved_at = float("-inf")
        self._apply = self._believing()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._names and scope["type"] != "lifespan" and _is_forwarded(scope):
            await self._resolve()
        await self._apply(scope, receive, send)

    async def _resolve(self) -> None:
        if time.monotonic() - self._resolved_at < _RESOLVED_SECONDS:
            return
        addresses = set[str]()
        for name in self._names:
            with suppress(OSError):
                infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
                addresses |= {str(info[4][0]) for info in infos}
        self._apply = self._believing(addresses)
        self._resolved_at = time.monotonic()

    def _believing(self, resolved: Iterable[str] = ()) -> ASGIApp:
        trusted = [*self._addresses, *resolved]
        return cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, self.app), trusted_hosts=trusted))


def _is_forwarded(scope: Scope) -> bool:
    return any(name in (b"x-forwarded-for", b"x-forwarded-proto") for name, _ in scope["headers"])


def _is_address(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True
