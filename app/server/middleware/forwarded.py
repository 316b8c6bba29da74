"""The client's address and scheme as the proxy in front reports them, believed from that proxy alone."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from contextlib import suppress
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_RESOLVED_SECONDS = 10.0
"""How long the addresses of a name are used: a container that is made anew has another."""


def trust_proxies(app: ASGIApp, trusted: str) -> ASGIApp:
    """Apply `X-Forwarded-For` and `X-Forwarded-Proto` of requests that come from a trusted proxy.

    `trusted`: addresses, networks and host names, separated by commas.
    """
    entries = [entry.strip() for entry in trusted.split(",") if entry.strip()]
    addresses = [entry for entry in entries if _is_address(entry)]
    names = [entry for entry in entries if not _is_address(entry)]
    return _NamedProxies(app, addresses, names) if names else _believing(app, addresses)


class _NamedProxies:
    """Resolves the names when a request with such a header arrives; what does not resolve is not trusted."""

    def __init__(self, app: ASGIApp, addresses: list[str], names: list[str]) -> None:
        self._app, self._addresses, self._names = app, addresses, names
        self._resolved_at = float("-inf")
        self._apply = _believing(app, addresses)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and _is_forwarded(scope):
            await self._resolve()
        await self._apply(scope, receive, send)

    async def _resolve(self) -> None:
        if time.monotonic() - self._resolved_at < _RESOLVED_SECONDS:
            return
        resolved = set[str]()
        for name in self._names:
            with suppress(OSError):
                infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
                resolved |= {str(info[4][0]) for info in infos}
        self._apply = _believing(self._app, [*self._addresses, *resolved])
        self._resolved_at = time.monotonic()


def _believing(app: ASGIApp, addresses: list[str]) -> ASGIApp:
    return cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, app), trusted_hosts=addresses))


def _is_forwarded(scope: Scope) -> bool:
    return any(name in (b"x-forwarded-for", b"x-forwarded-proto") for name, _ in scope["headers"])


def _is_address(entry: str) -> bool:
    try:
        ipaddress.ip_network(entry)
    except ValueError:
        return False
    return True
