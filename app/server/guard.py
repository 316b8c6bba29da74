"""Which requests are refused by their head alone, whatever they ask for.

Heads that two servers may read in two ways: a proxy in front may have read another request (smuggling). Then
those that pages of other sites make a local user's browser send. Any page can submit a form to 127.0.0.1
without a preflight (a simple request in CORS). A page whose name is re-pointed to 127.0.0.1 after loading
(DNS rebinding) can also read the responses, because to the browser both are one site. The browser sends the
page (`Origin`) and the name (`Host`), and no page can forge either.

`$` in the patterns of Starlette's routes also matches before a final line break, so a path with a control
character, which none of our addresses has, is a 404 before anything else looks at it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache

from starlette.types import Scope

from app.http.headers import NOT_A_HOST, has_host, header
from app.server.refusing import CLOSE, Refusal
from core.errors import NOTHING_HERE
from masktune.contract.problems import ErrorCode

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1) and whose responses no other site can read."""
_PROBES = frozenset({"/livez", "/readyz"})
_PORTS = {"http": ":80", "https": ":443"}


class Guard:
    """Refuses heads that are not in order, unsafe methods and web sockets from other sites' pages, and host
    names that are not our own.

    Host names are checked only while the service is open. Otherwise such a page has no key, because a browser
    sends its cookie to no other name. `allowed` lists host names besides loopback, separated by commas; `*`
    allows any `Host`, but no other `Origin`. `is_open` tells whether the service answers without a key.
    Pages of `origins` are not refused.
    """

    def __init__(
        self, *, allowed: str, is_open: bool | Callable[[], Awaitable[bool]], origins: Collection[str] = ()
    ) -> None:
        self.is_open, self.origins = is_open, origins
        self.allowed = frozenset(filter(None, (_name(one.strip()) for one in allowed.lower().split(","))))

    async def refusal(self, scope: Scope) -> Refusal | None:
        """Return why a request or a web socket is refused, or None if it is allowed."""
        fault = _fault(scope)
        if fault is not None:
            return fault
        host = header(scope, b"host").decode("latin-1").lower()
        origin = header(scope, b"origin").decode("latin-1").lower()
        acts = scope["type"] == "websocket" or scope["method"] not in _SAFE
        if origin and acts and origin not in self.origins and not self._is_own(origin, host):
            return Refusal(
                ErrorCode.FORBIDDEN,
                "the request comes from a page of another site; to let it call the API, add its origin to "
                "MASKTUNE_ALLOWED_ORIGINS; if the page is this service's own, let the proxy forward `Host`, "
                "or add its host to MASKTUNE_ALLOWED_HOSTS",
            )
        # Every browser sends `Host`.
        if not host or _is_loopback(host) or "*" in self.allowed or _name(host) in self.allowed:
            return None
        is_open = self.is_open if isinstance(self.is_open, bool) else await self.is_open()
        if not is_open or _is_probe(scope):
            return None
        return Refusal(
            ErrorCode.FORBIDDEN,
            "without keys this service answers only to loopback names; use 127.0.0.1, set MASKTUNE_API_KEYS, "
            "or add this host to MASKTUNE_ALLOWED_HOSTS",
        )

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, _, authority = origin.partition("://")  # `null` comes from a page that hides its origin
        port = _PORTS.get(scheme, "")
        same = authority.removesuffix(port) == host.removesuffix(port)
        return bool(authority) and (same or _name(authority) in self.allowed - {"*"})


def _fault(scope: Scope) -> Refusal | None:
    """Return why the head is not in order."""
    names = [name for name, _ in scope["headers"]]
    if _CONTROL.search(scope["path"]):
        return Refusal(ErrorCode.NOT_FOUND, NOTHING_HERE)
    if scope.get("method") == "CONNECT":
        return Refusal(ErrorCode.BAD_REQUEST, "this server is not a proxy", (CLOSE,))
    if b"transfer-encoding" in names and (  # RFC 9112, 6.1
        b"content-length" in names or header(scope, b"transfer-encoding").lower() != b"chunked"
    ):
        detail = "send either Content-Length or Transfer-Encoding, and no other one than chunked"
        return Refusal(ErrorCode.BAD_REQUEST, detail, (CLOSE,))
    if names.count(b"host") != 1 and scope.get("http_version", "1.1") != "1.0":
        return Refusal(ErrorCode.BAD_REQUEST, "send one header Host", (CLOSE,))
    if not has_host(scope):  # what is behind a second colon, one reader takes for a port and others do not
        return Refusal(ErrorCode.BAD_REQUEST, NOT_A_HOST, (CLOSE,))
    if b"content-encoding" in names and header(scope, b"content-encoding").lower() not in (b"", b"identity"):
        detail = "send the body as it is, without Content-Encoding"
        return Refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, detail, (CLOSE,))
    return None


def _name(authority: str) -> str:
    """Strip the port, and the brackets of an IPv6 address."""
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
