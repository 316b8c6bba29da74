"""What pages of other sites make the browser of somebody here send is refused.

A form of any page goes to 127.0.0.1 without asking (CORS calls it simple), and a page whose name is turned to
127.0.0.1 once it is loaded (DNS rebinding) reads the answers too: to the browser both are one site. It says
which page asks (`Origin`) and under which name (`Host`), and no page can have it say something else.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from app.headers import header
from app.middleware.refusing import refuse
from core.errors import Forbidden

IsOpen = Callable[[], Awaitable[bool]]
"""Whether anybody is answered, without a key."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""They change nothing (RFC 9110, 9.2.1), and no other site reads the answers."""
_PROBES = frozenset({"/livez", "/readyz"})
_PORTS = {"http": ":80", "https": ":443"}
_POLICY_VIOLATION = 1008
"""Why a web socket is closed (RFC 6455, 7.4.1)."""


class OtherSite(Forbidden):
    title = "Another site may not ask for that"


class SameOrigin:
    """Refuses unsafe methods and web sockets of other sites' pages, and names that are not this service's.

    Names are looked at only while the service is open: elsewhere the page has no key, for a browser gives its
    cookie to no other name. `allowed`: names besides loopback, by commas; `*` is any, for `Host` alone.
    """

    def __init__(self, app: ASGIApp, *, allowed: str, is_open: IsOpen) -> None:
        self.app, self.is_open = app, is_open
        self.allowed = frozenset(filter(None, (_name(one.strip()) for one in allowed.lower().split(","))))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = await self._fault(scope) if scope["type"] in ("http", "websocket") else None
        if fault is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
        else:
            await refuse(scope, send, OtherSite, fault)

    async def _fault(self, scope: Scope) -> str | None:
        """What to tell whoever asks, or None where they may."""
        host = header(scope, b"host").decode("latin-1").lower()
        origin = header(scope, b"origin").decode("latin-1").lower()
        acts = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if origin and acts and not self._is_own(origin, host):
            return (
                "a page of another site asks for this; if it is this service's own, have the proxy hand on "
                "`Host`, or name its host in MASKTUNE_ALLOWED_HOSTS"
            )
        if self._answers_to(host) or _is_probe(scope) or not await self.is_open():
            return None
        return (
            "without keys this service answers to loopback names alone; ask it at 127.0.0.1, set "
            "MASKTUNE_API_KEYS, or name this host in MASKTUNE_ALLOWED_HOSTS"
        )

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, _, authority = origin.partition("://")  # `null`: a page that hides where it is from
        port = _PORTS.get(scheme, "")
        same = authority.removesuffix(port) == host.removesuffix(port)
        return bool(authority) and (same or _name(authority) in self.allowed - {"*"})

    def _answers_to(self, host: str) -> bool:
        """No browser leaves `Host` out."""
        return not host or _is_loopback(host) or "*" in self.allowed or _name(host) in self.allowed


def known(is_open: bool) -> IsOpen:
    """For a service whose own settings say so."""

    async def answer() -> bool:
        return is_open

    return answer


def _name(authority: str) -> str:
    """A host without its port, and an IPv6 address without its brackets."""
    bracketed, _, _ = authority.removeprefix("[").rpartition("]")
    return bracketed or authority.partition(":")[0].rstrip(".")


@lru_cache(maxsize=256)
def _is_loopback(authority: str) -> bool:
    name = _name(authority)
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_probe(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) in _PROBES
