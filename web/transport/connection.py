"""Access to the API: one client per visitor, over a connection pool that all pages share.

The key is the visitor's own. It is kept in an HttpOnly cookie, sent with every page request, and never part
of a URL. A visitor without one may be named by an authenticating proxy: its headers are passed on.
"""

from __future__ import annotations

import time
from functools import lru_cache

import httpx2
from nicegui import Client, background_tasks, ui
from starlette.requests import Request

from masktune import AsyncClient, ClientError, OwnKey, ProblemError, Retry
from masktune.client.client import authorities, headers, timeouts
from masktune.client.drivers import AsyncDriver
from masktune.contract.report.text import verdict_title
from web.paging import first

KEY_COOKIE = "masktune_key"
UNSENDABLE = "unsendable"
"""Query parameter of a page: the key that the visitor entered cannot be sent in a header."""
THEME_COOKIE = "masktune_theme"
_OPEN_SECONDS = 60.0
"""How long `Connections.is_open` caches whether the API needs a key."""
HEARTBEAT_SECONDS = 15.0
"""As often as the API checks the key of an event stream."""
_POLICY_VIOLATION = 1008
"""Close code of a web socket (RFC 6455, 7.4.1)."""
_RETRY = Retry(attempts=2)
"""Few attempts: a person is waiting, and should soon learn that the service is unavailable."""

Identity = tuple[tuple[bytes, bytes], ...]
"""What an authenticating proxy says about the visitor: headers, pairs of name and text."""


class Connections:
    """Clients of one API. `url` is its address as seen from the dashboard's server."""

    def __init__(self, url: str) -> None:
        self.url = url
        # An explicit transport ignores the proxies of the environment. Connections are unlimited because each
        # page that follows a job holds one open.
        limits = httpx2.Limits(max_connections=None)
        self._transport = httpx2.AsyncHTTPTransport(verify=authorities(), limits=limits)
        # Those that drop out of the cache are not closed: all clients share the transport.
        self._client = lru_cache(maxsize=64)(self._make)
        self._is_open, self._checked_at = True, float("-inf")

    def of(self, key: str | None, identity: Identity = ()) -> AsyncClient:
        """The client that sends this key or, without one, these headers about the visitor."""
        return self._client(key, () if key else identity)

    async def is_open(self) -> bool:
        """Whether the API answers without a key. If unclear, the last known answer, initially True."""
        if time.monotonic() - self._checked_at >= _OPEN_SECONDS:
            try:
                async for _ in self.of(None).datasets.list(limit=1):
                    break
                self._is_open, self._checked_at = True, time.monotonic()
            except ClientError as error:
                if isinstance(error, ProblemError) and error.status == 401:
                    self._is_open, self._checked_at = False, time.monotonic()
        return self._is_open

    def _make(self, key: str | None, identity: Identity) -> AsyncClient:
        http = httpx2.AsyncClient(
            base_url=self.url, headers=headers(key), timeout=timeouts(), transport=self._transport
        )
        http.headers.update(list(identity))
        return AsyncClient.over(AsyncDriver(http, _RETRY))

    async def aclose(self) -> None:
        await self._transport.aclose()


_connections: Connections | None = None  # one per process, like NiceGUI's app


def connect(url: str) -> Connections:
    """Set the address of the API for all pages."""
    global _connections
    _connections = Connections(url)
    return _connections


def connections() -> Connections:
    assert _connections is not None, "web.transport.connection.connect(url) comes first"
    return _connections


def is_sendable(key: str) -> bool:
    """Whether the key can be sent in a header: printable ASCII only."""
    return key.isascii() and key.isprintable()


def key_of(request: Request) -> str | None:
    key = request.cookies.get(KEY_COOKIE)
    return key if key and is_sendable(key) else None


def api_for(request: Request) -> AsyncClient:
    """The client that calls the API as the visitor who sent this request.

    Of the headers about the visitor, those are passed on that the server has noted in its state: it believes
    the proxy that sent them.
    """
    identity: Identity = request.scope.get("state", {}).get("identity", ())
    return connections().of(key_of(request), identity)


def request() -> Request:
    """The request that the current page answers."""
    page_request = ui.context.client.request
    assert page_request is not None, "outside of a page"
    return page_request


def api() -> AsyncClient:
    """The client that calls the API as the visitor of the current page."""
    return api_for(request())


async def identify_visitor() -> OwnKey:
    """Ask the API who the visitor of the current page is, for `own_key`."""
    own: OwnKey = await api().keys.whoami()
    request().state.own_key = own
    return own


def own_key() -> OwnKey:
    """What the visitor of the current page may do, and who they are."""
    own: OwnKey = request().state.own_key
    return own


def missing_scope(key: OwnKey, scope: str) -> str:
    """Explain, in the service's wording, that the visitor lacks this scope."""
    return f"This needs the scope {scope}; you have {', '.join(key.scopes) or 'none'}."


async def dataset_name(connection: AsyncClient, dataset: str | None) -> str:
    """The name of a data set, which may have been deleted; "" for none."""
    if dataset is None:
        return ""
    try:
        return (await connection.datasets.get(dataset)).name
    except ProblemError:
        return "a deleted data set"


async def dataset_names() -> dict[str, str]:
    """Names of the newest hundred data sets by id, from one request; others are shown by id only."""
    return {dataset.id: dataset.name for dataset in await first(api().datasets.list(limit=100), 100)}


async def verdict_titles() -> dict[str, str]:
    """Titles of the verdicts of the newest hundred jobs that succeeded, by the id of the job; one request."""
    jobs = await first(api().jobs.list(state="succeeded", limit=100), 100)
    return {job.id: verdict_title(job.verdict)[1] for job in jobs if job.verdict}


def link(path: str, browser_request: Request | None = None) -> str:
    """A path of the dashboard as the browser must request it, with any proxy prefix (`ForwardedPrefix`)."""
    root: str = (browser_request or request()).scope.get("root_path", "")
    return root + path


def end_when_revoked() -> None:
    """Ask at every heartbeat whether the API still knows the visitor of the current page; if not, end it:
    its web socket, opened while the key was valid, would stay open."""
    client, connection = ui.context.client, api()

    async def ask() -> None:
        try:
            await connection.keys.whoami()
        except ProblemError as error:
            if error.status == 401 and client.has_socket_connection:
                background_tasks.create(_end(client))  # a task of its own: the page's timers end with it
        except ClientError:  # the service is not available: ask again next time
            return

    ui.timer(HEARTBEAT_SECONDS, ask, immediate=False)


async def _end(client: Client) -> None:
    """Delete the page and close its web socket. The browser connects again, learns that the page is gone, and
    loads it anew, to be asked for a key."""
    environ = client.environ
    assert environ is not None, "the page is connected"
    client.delete()
    if environ["asgi.scope"]["type"] == "websocket":  # else it asks by HTTP, and gets no more answers
        await environ["asgi.send"]({"type": "websocket.close", "code": _POLICY_VIOLATION})
