"""uvicorn with time limits on its connections and on shutdown: when told to stop, it ends open event streams
and exports at once, and the process exits within a bounded time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from socket import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.server.connection import Connection
from core import logs
from core.process import exit_after
from core.settings import Settings

LAST_SECONDS = 3.0
"""For cleanup after the open requests have ended. `masktune serve` kills the process two seconds later."""
_NOT_IN_TIME = "the service could not stop in time: a part that it waits for does not respond"


class Server(uvicorn.Server):
    """Ends event streams and exports on the first signal.

    Otherwise a stream would keep the process alive until `timeout_graceful_shutdown` cancels it, and an
    export even longer, because a thread cannot be cancelled.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, *, most_seconds: float | None = None) -> None:
        """The process exits within `most_seconds` of the first signal; None if the server does not own it."""
        super().__init__(config)
        self._app = app
        self._most_seconds = most_seconds
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._most_seconds is not None and not self.should_exit:
            exit_after(self._most_seconds, _NOT_IN_TIME)
        super().handle_exit(sig, frame)
        if self._loop is not None and self.started:
            services = self._app.state.services
            with suppress(RuntimeError):  # an earlier signal has already closed the loop
                self._loop.call_soon_threadsafe(services.event_feed.stop)
                self._loop.call_soon_threadsafe(services.inference.exports.stop)


def make_server(app: FastAPI, settings: Settings, both: ASGIApp | None = None) -> Server:
    """Create a server of the API on the configured address; `run(sockets=…)` listens on these instead.

    `both` is the API with the dashboard beside it, if there is one. A signal that ends the server ends the
    process.
    """
    config = uvicorn.Config(
        both or app,
        proxy_headers=False,  # uvicorn's own knows no names
        http=Connection,
        log_config=logs.config(settings.log_level, settings.log_format),
        host=settings.host,
        port=settings.port,
        root_path=settings.root_path,
        log_level=settings.log_level,
        access_log=False,  # the `masktune.access` logger writes the line, with the request's id
        timeout_graceful_shutdown=settings.graceful_shutdown_seconds,
    )
    return Server(config, app, most_seconds=settings.graceful_shutdown_seconds + LAST_SECONDS)
