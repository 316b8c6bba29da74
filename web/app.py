"""`create_dashboard()`: the dashboard as an ASGI application, served alone or beside the API."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from nicegui import app as pages_app
from nicegui import ui
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from masktune import ProblemError
from web import files
from web.pages import (  # noqa: F401
    compare,
    dataset,
    datasets,
    image_answers,
    job,
    jobs,
    judge,
    manual,
    model,
    models,
    new_job,
    predictions,
    report,
    reviews,
    sample,
    storage,
    try_it,
)
from web.shell import STATIC, error_page
from web.text.manual import DOCS
from web.transport import connection, uploads
from web.transport.errors import accepts_html

HOME = "/ui"
"""The path of the pages; `/` redirects to it."""

_PREFIX_HEADER = "X-Forwarded-Prefix"
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
"""A prefix is inserted into URLs in pages, so it must not end an attribute or name another host (`//…`)."""

RECONNECT_SECONDS = 30.0
"""Seconds for which a page whose connection is lost keeps its state, including what was typed into it.
NiceGUI's default of three is too short for a laptop that changes networks, or for a busy browser.
"""

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",  # Vue compiles its templates in the browser
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "connect-src 'self' ws: wss:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""Allows no requests to other hosts, and no other page to frame this one."""


def create_dashboard(url: str) -> FastAPI:
    """Create the dashboard for the API at `url`, once per process: NiceGUI has a single application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        connections = connection.connect(url)
        yield
        await connections.aclose()

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs every request, and so does the API
    outer = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    outer.add_api_route("/", _home, include_in_schema=False)
    outer.add_api_route("/livez", _alive, include_in_schema=False)
    outer.middleware("http")(_secure_headers)
    outer.add_middleware(ForwardedPrefix)
    pages_app.include_router(files.router)
    pages_app.include_router(uploads.router)
    pages_app.add_static_files("/static", STATIC)
    pages_app.add_static_files("/help/images", DOCS / "images")
    pages_app.add_exception_handler(404, _not_found)
    pages_app.add_exception_handler(RequestValidationError, _invalid_address)
    ui.run_with(
        outer,
        mount_path=HOME,
        title="masktune",
        dark=None,
        language="en-US",
        tailwind=False,  # would compile style sheets in the browser; all styles are in one file
        show_welcome_message=False,
        favicon=_ICON,
        reconnect_timeout=RECONNECT_SECONDS,
    )
    return outer


def serve(dashboard: ASGIApp, host: str, port: int) -> None:
    """Run the dashboard alone until SIGTERM. What proxies report is for `dashboard` to apply."""
    import uvicorn

    uvicorn.run(
        dashboard, host=host, port=port, proxy_headers=False, access_log=False, timeout_graceful_shutdown=5
    )


async def _home(request: Request) -> Response:
    # Relative, so that it works behind any prefix.
    return RedirectResponse(HOME.removeprefix("/") + "/")


async def _alive() -> dict[str, str]:
    return {"status": "ok"}


async def _not_found(request: Request, error: Exception) -> Response:
    """A 404 page with links; NiceGUI's own has none."""
    if not accepts_html(request):
        return JSONResponse({"detail": "Not found."}, status_code=404)
    return error_page(request, ProblemError({"detail": "There is no page at this address."}, status=404))


async def _invalid_address(request: Request, error: Exception) -> Response:
    if not accepts_html(request) and isinstance(error, RequestValidationError):
        return await request_validation_exception_handler(request, error)
    detail = "Part of this page's address is invalid: remove everything after the question mark."
    return error_page(request, ProblemError({"title": "Invalid address", "detail": detail}, status=422))


async def _secure_headers(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await answer(request)
    response.headers.setdefault("Content-Security-Policy", POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" '
    'fill="#e8ecfb"/><path d="M0 7a7 7 0 0 1 7-7h25L0 32z" fill="#2f4fc4"/></svg>'
)


class ForwardedPrefix:
    """Adds a proxy's `X-Forwarded-Prefix` to ASGI's `root_path` unless it is there already.

    NiceGUI would concatenate the two and prepend the header to addresses that already have it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            scope = _rooted(scope)
        await self.app(scope, receive, send)


def _rooted(scope: Scope) -> Scope:
    headers = MutableHeaders(raw=list(scope["headers"]))
    root = scope.get("root_path", "")
    prefix = headers.get(_PREFIX_HEADER, "").rstrip("/").removesuffix(root)
    if not _PREFIX.fullmatch(prefix):
        prefix = ""
    del headers[_PREFIX_HEADER]
    return {**scope, "headers": headers.raw, "root_path": prefix + root, "path": prefix + scope["path"]}
