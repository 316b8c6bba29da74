"""Access to the API: one client per key, over a connection pool that all pages share.

The key is the visitor's own. It is kept in an HttpOnly cookie, sent with every page request, and never part
of a URL.
"""

from __future__ import annotations

import time
from collections import OrderedDict

import httpx
from nicegui import ui
from starlette.requests import Request

from masktune import AsyncClient, ClientError, OwnKey, ProblemError, Retry
from masktune.client.client import authorities
from web.paging import first

KEY_COOKIE = "masktune_key"
UNSENDABLE = "unsendable"
"""Query parameter of a page: the key that the visitor entered cannot be sent in a header."""
THEME_COOKIE = "masktune_theme"
_KEYS_HELD = 64
"""Most clients kept, one per key; the least recently used is dropped."""
_OPEN_SECONDS = 60.0
"""How long `Connections.is_open` caches whether the API needs a key."""
_RETRY = Retry(attempts=2)
"""Few attempts: a person is waiting, and should soon learn that the service is unavailable."""


class Connections:
    """Clients of one API. `url` is its address as seen from the dashboard's server."""

    def __init__(self, url: str) -> None:
        self.url = url
        # An explicit transport ignores the proxies of the environment. Connections are unlimited because each
        # page that follows a job holds one open.
        limits = httpx.Limits(max_connections=None)
        self._transport = httpx.AsyncHTTPTransport(verify=authorities(), limits=limits)
        self._clients: OrderedDict[str | None, AsyncClient] = OrderedDict()
        self._is_open, self._asked_at = True, float("-inf")

    def of(self, key: str | None) -> AsyncClient:
        """The client that sends this key, or none."""
        if key not in self._clients:
            self._clients[key] = AsyncClient(self.url, key=key, transport=self._transport, retry=_RETRY)
        self._clients.move_to_end(key)
        while len(self._clients) > _KEYS_HELD:
            self._clients.popitem(last=False)  # not closed: all clients share the transport
        return self._clients[key]

    async def is_open(self) -> bool:
        """Whether the API answers without a key. If unclear, the last known answer, initially True."""
        if time.monotonic() - self._asked_at >= _OPEN_SECONDS:
            try:
                async for _ in self.of(None).datasets.list(limit=1):
                    break
                self._is_open, self._asked_at = True, time.monotonic()
            except ClientError as error:
                if isinstance(error, ProblemError) and error.status == 401:
                    self._is_open, self._asked_at = False, time.monotonic()
        return self._is_open

    async def aclose(self) -> None:
        await self._transport.aclose()


class NotConnected(Exception):
    """A page was asked for before `connect`."""


_connections: Connections | None = None  # one per process, like NiceGUI's app


def connect(url: str) -> Connections:
    """Set the address of the API for all pages."""
    global _connections
    _connections = Connections(url)
    return _connections


def connections() -> Connections:
    if _connections is None:
        raise NotConnected("web.transport.connection.connect(url) comes first")
    return _connections


async def is_open() -> bool:
    """Whether the API answers without a key."""
    return await connections().is_open()


def is_sendable(key: str) -> bool:
    """Whether the key can be sent in a header: printable ASCII only."""
    return key.isascii() and key.isprintable()


def key_of(request: Request) -> str | None:
    key = request.cookies.get(KEY_COOKIE)
    return key if key and is_sendable(key) else None


def api_for(request: Request) -> AsyncClient:
    """The client that sends the key of this request."""
    return connections().of(key_of(request))


def request() -> Request:
    """The request that the current page answers."""
    found = ui.context.client.request
    assert found is not None, "outside of a page"
    return found


def api() -> AsyncClient:
    """The client that sends the key of the current page's visitor."""
    return api_for(request())


async def own_key(connection: AsyncClient) -> OwnKey:
    """The visitor's key and its scopes. An older service cannot tell; everything is then offered."""
    try:
        return await connection.keys.whoami()
    except ProblemError as error:
        if error.status in (403, 404):  # an older service takes `self` for a key id
            return OwnKey(scopes=["admin"])
        raise


def lacking(own: OwnKey, scope: str) -> str:
    """Explain, in the service's wording, that the visitor's key lacks this scope."""
    return f"This needs a key with the scope {scope}; yours has only {', '.join(own.scopes)}."


async def dataset_names() -> dict[str, str]:
    """Names of the newest hundred data sets by id, from one request; others are shown by id only."""
    return {found.id: found.name for found in await first(api().datasets.list(limit=100), 100)}


def here(path: str, asked: Request | None = None) -> str:
    """A path of the dashboard as the browser must request it, including any proxy prefix (`Prefixed`)."""
    root: str = (asked or request()).scope.get("root_path", "")
    return root + path
