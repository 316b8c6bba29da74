"""What the proxies in front report, believed from them alone: the client's address and scheme, and the person
behind a request."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.addresses import entries, is_network
from core.proxy_user import ProxyUser

_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
_RESOLVED_SECONDS = 10.0
"""How long the addresses of a name are used: a container that is made anew has another."""


class _Peers:
    """Machines that the settings name by address, network or host name; what a name resolves to is looked up
    when somebody asks."""

    def __init__(self, text: str) -> None:
        """`text`: the entries, separated by commas."""
        self.fixed = [entry for entry in entries(text) if is_network(entry)]
        self._names = [entry for entry in entries(text) if not is_network(entry)]
        self._resolved, self._resolved_at = set[str](), float("-inf")

    async def addresses(self) -> list[str]:
        """All of them as addresses and networks, without the names that do not resolve."""
        if self._names and time.monotonic() - self._resolved_at >= _RESOLVED_SECONDS:
            self._resolved = {address for name in self._names for address in await _resolve(name)}
            self._resolved_at = time.monotonic()
        return [*self.fixed, *self._resolved]

    async def include(self, address: str) -> bool:
        """Whether this address is one of them."""
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:  # such as that of a Unix socket
            return False
        return any(peer in ipaddress.ip_network(entry) for entry in await self.addresses())


async def _resolve(name: str) -> set[str]:
    with suppress(OSError):
        infos = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return {str(info[4][0]) for info in infos}
    return set()


class Proxies:
    """Applies `X-Forwarded-For` and `X-Forwarded-Proto` of requests that come from a trusted proxy, and notes
    the person whom an authenticating one names.

    `trusted`: addresses, networks and host names, separated by commas.
    """

    def __init__(self, trusted: str, user: ProxyUser) -> None:
        self._trusted, self._authenticating = _Peers(trusted), _Peers(user.believed_from)
        self._identifying = {name.encode() for name in user.headers}
        self._reported = _FORWARDED | self._identifying
        self._believe(self._trusted.fixed)

    async def apply(self, scope: Scope) -> None:
        """Set `client`, `scheme` and `state["identity"]` of the scope, if they are reported.

        The identity is the headers of the settings as they came: pairs of lower-case name and text. Whether
        they name anybody is for the API to decide (`app.auth.people`), to which the dashboard passes them on.
        Of any peer but the authenticating proxy they are ignored: it is asked for before `client` changes.
        """
        if self._reported.isdisjoint(name for name, _ in scope["headers"]):
            return
        identity = tuple((name, text) for name, text in scope["headers"] if name in self._identifying)
        peer = scope.get("client")
        if identity and peer and await self._authenticating.include(peer[0]):
            scope.setdefault("state", {})["identity"] = identity
        addresses = await self._trusted.addresses()
        if addresses != self._addresses:
            self._believe(addresses)
        await self._forward(scope, cast(Receive, None), cast(Send, None))
        client: tuple[str, int] = scope.get("client") or ("", 0)
        if client != peer and not _is_address(client[0]):  # but any text
            scope["client"] = peer

    def _believe(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._forward = cast(
            ASGIApp, ProxyHeadersMiddleware(cast(Any, _nothing), trusted_hosts=list(addresses))
        )


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind uvicorn's middleware, which has changed the scope by then."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # behind it is a zone, which may be any text
