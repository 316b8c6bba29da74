"""The client's address and scheme as the proxy in front reports them, believed from that proxy alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.server.middleware.peers import Peers

_PEER = "masktune.peer"


class TrustedProxies:
    """Applies `X-Forwarded-For` and `X-Forwarded-Proto` of requests that come from a trusted proxy.

    `trusted`: addresses, networks and host names, separated by commas.
    """

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        self.app, self._proxies = app, Peers(trusted)
        self._believe(self._proxies.fixed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and _is_forwarded(scope):
            addresses = await self._proxies.addresses()
            if addresses != self._addresses:
                self._believe(addresses)
        scope[_PEER] = scope.get("client")
        await self._apply(scope, receive, send)

    def _believe(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._apply = cast(
            ASGIApp, ProxyHeadersMiddleware(cast(Any, self._pass_on), trusted_hosts=list(addresses))
        )

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """With the peer itself as the client where what it reports is no address, but any text."""
        peer = scope.pop(_PEER, None)
        if scope.get("client") != peer and not _is_address(scope["client"][0]):
            scope["client"] = peer
        await self.app(scope, receive, send)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # behind it is a zone, which may be any text


def _is_forwarded(scope: Scope) -> bool:
    return any(name in (b"x-forwarded-for", b"x-forwarded-proto") for name, _ in scope["headers"])
