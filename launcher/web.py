"""`masktune web`, the dashboard alone, and the dashboard beside the API at the same address.

This is the only module that knows both `app` and `web`. Even in one process, the dashboard calls the API over
loopback HTTP like any other client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from launcher.startup import exit_1_on_failure
from masktune.cli.output import USAGE, fail, fail_with

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

HOME = "/ui"


_Url = Annotated[
    str, typer.Option(envvar="MASKTUNE_URL", help="Address of the API, as this process reaches it.")
]
_Host = Annotated[str, typer.Option(envvar="MASKTUNE_WEB_HOST", help="Address to listen on.")]
_Port = Annotated[int, typer.Option(envvar="MASKTUNE_WEB_PORT", min=1, max=65535, help="Port to listen on.")]
_AllowedHosts = Annotated[
    str,
    typer.Option(
        envvar="MASKTUNE_ALLOWED_HOSTS",
        help="Host names under which browsers may reach it, separated by commas.",
    ),
]
_TrustedProxies = Annotated[
    str,
    typer.Option(
        envvar="MASKTUNE_TRUSTED_PROXIES",
        help="Addresses, networks or names of proxies whose X-Forwarded-For and -Proto are believed.",
    ),
]
_UserHeader = Annotated[
    str,
    typer.Option(
        envvar="MASKTUNE_PROXY_USER_HEADER",
        help="Header in which an authenticating proxy names the visitor; it is passed on to the API.",
    ),
]
_GroupsHeader = Annotated[
    str, typer.Option(envvar="MASKTUNE_PROXY_GROUPS_HEADER", help="Header with the visitor's groups.")
]
_UserFrom = Annotated[
    str,
    typer.Option(
        envvar="MASKTUNE_PROXY_USER_FROM",
        help="Addresses, networks or names of the proxy from which these headers are believed.",
    ),
]


def web(
    url: _Url = "http://127.0.0.1:8000",
    host: _Host = "127.0.0.1",
    port: _Port = 8080,
    allowed_hosts: _AllowedHosts = "",
    trusted_proxies: _TrustedProxies = "127.0.0.1",
    proxy_user_header: _UserHeader = "",
    proxy_groups_header: _GroupsHeader = "",
    proxy_user_from: _UserFrom = "",
) -> None:
    """Run the dashboard alone. `masktune serve` includes it; this command is for compose and clusters.

    It has no key of its own: if the API needs one, each visitor whom no proxy names is asked for theirs.
    """
    from masktune import Client, NotSent

    try:
        Client(url).close()
    except NotSent as error:  # fail now instead of on every page
        fail_with(error)
    from core.loading import loading
    from core.proxy_user import ProxyUser

    try:
        user = ProxyUser(proxy_user_header, proxy_groups_header, proxy_user_from)
    except ValueError as error:
        fail(str(error), USAGE)
    with loading():
        from app.server.edge import Edge
        from app.server.guard import Guard
        from app.server.proxies import Proxies
        from web.app import create_dashboard, serve
        from web.transport.connection import connections

    dashboard = create_dashboard(url)
    guard = Guard(allowed=allowed_hosts, is_open=lambda: connections().is_open())
    with exit_1_on_failure():
        serve(Edge(dashboard, proxies=Proxies(trusted_proxies, user), guard=guard), host, port)


class Dashboard:
    """The dashboard, loaded on its first request, so that the API's start does not wait for it."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._loading: asyncio.Task[FastAPI] | None = None
        self._running: asyncio.Task[None] | None = None
        self._end = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._loading is None:
            self._loading = asyncio.create_task(self._load())
        app = await asyncio.shield(self._loading)
        await app(scope, receive, send)

    async def aclose(self) -> None:
        """Stop the dashboard's background work, if it was started."""
        self._end.set()
        if self._running is not None:
            with suppress(asyncio.CancelledError):
                await self._running

    async def _load(self) -> FastAPI:
        app = await asyncio.to_thread(self._make)
        ready = asyncio.Event()
        # The same task enters and leaves the lifespan, as the server does for the API.
        self._running = asyncio.create_task(self._run(app, ready))
        await ready.wait()
        return app

    def _make(self) -> FastAPI:
        from core.loading import loading

        with loading():
            from web.app import create_dashboard

            return create_dashboard(self._url())

    async def _run(self, app: FastAPI, ready: asyncio.Event) -> None:
        try:
            async with app.router.lifespan_context(app):
                ready.set()
                await self._end.wait()
        finally:
            ready.set()


def beside(api: ASGIApp, dashboard: Dashboard, guard: Callable[[ASGIApp], ASGIApp]) -> ASGIApp:
    """Combine both into one application: `/` and `/ui/…` go to the dashboard, everything else to the API.

    `guard` wraps the dashboard, as the API's own guard wraps the API.
    """
    pages = guard(dashboard)

    async def both(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                return await api(scope, receive, send)
            finally:
                await dashboard.aclose()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        is_page = path in ("", "/", HOME) or path.startswith(f"{HOME}/")
        return await (pages if is_page else api)(scope, receive, send)

    return both
