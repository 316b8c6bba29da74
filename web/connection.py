"""The way to the API: one client per key, over connections that all pages share.

The key is the visitor's own. It lives in a cookie of the browser that no script can read, comes
with every page, and is never part of an address.
"""

from __future__ import annotations

import time
from collections import OrderedDict

import httpx
from nicegui import ui
from starlette.requests import Request

from client import AsyncClient, ClientError, ProblemError, Retry
from web.paging import first

KEY_COOKIE = "masktune_key"
UNSENDABLE = "unsendable"
"""In the query of a page: the key that was given cannot be one."""
THEME_COOKIE = "masktune_theme"
_KEYS_HELD = 64
"""Clients that are kept; one for each key that was used of late."""
_OPEN_SECONDS = 60.0
"""How long it is believed whether the API asks for a key."""
_RETRY = Retry(attempts=2)
"""A person waits: rather say at once that the service is away."""


class Connections:
    """Clients of one API. `url` is where it is, as the server sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        # A transport of our own: no proxy of the environment stands between; a page that follows a job
        # holds a connection for as long, so that their number has no limit.
        self._transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None))
        self._clients: OrderedDict[str | None, AsyncClient] = OrderedDict()
        self._is_open, self._asked_at = True, float("-inf")

    def of(self, key: str | None) -> AsyncClient:
        """The client that speaks with this key, or with none."""
        if key not in self._clients:
            self._clients[key] = AsyncClient(self.url, key=key, transport=self._transport, retry=_RETRY)
        self._clients.move_to_end(key)
        while len(self._clients) > _KEYS_HELD:
            self._clients.popitem(last=False)  # not closed: its transport is everybody's
        return self._clients[key]

    async def is_open(self) -> bool:
        """Whether the API answers without a key. While it says neither: as it was, and at first yes."""
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


_connections: Connections | None = None  # NiceGUI's app is one per process, and so is this


def connect(url: str) -> Connections:
    """Let every page speak to the API at this address."""
    global _connections
    _connections = Connections(url)
    return _connections


def connections() -> Connections:
    if _connections is None:
        raise NotConnected("web.connection.connect(url) comes first")
    return _connections


async def is_open() -> bool:
    """Whether the API that pages speak to answers without a key."""
    return await connections().is_open()


def is_sendable(key: str) -> bool:
    """Whether it fits into a header: letters, digits and signs of ASCII."""
    return key.isascii() and key.isprintable()


def key_of(request: Request) -> str | None:
    key = request.cookies.get(KEY_COOKIE)
    return key if key and is_sendable(key) else None


def api_for(request: Request) -> AsyncClient:
    """The API with the key of this request."""
    return connections().of(key_of(request))


def request() -> Request:
    """The request that the present page answers."""
    found = ui.context.client.request
    assert found is not None, "outside of a page"
    return found


def api() -> AsyncClient:
    """The API with the key of the visitor whose page this is."""
    return api_for(request())


async def dataset_names() -> dict[str, str]:
    """What data sets are called, the newest hundred: one request; of others only the id is shown."""
    return {found.id: found.name for found in await first(api().datasets.list(limit=100), 100)}


def here(path: str, asked: Request | None = None) -> str:
    """A path of the dashboard as the browser must ask for it, behind any prefix (`Prefixed`)."""
    root: str = (asked or request()).scope.get("root_path", "")
    return root + path
