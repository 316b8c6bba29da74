"""The sockets that the API listens on, and whether it answers there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from masktune.cli.output import fail

if TYPE_CHECKING:
    from core.settings import Settings


@contextmanager
def listen_together(settings: Settings) -> Iterator[list[socket.socket]]:
    """One listening socket per process; the kernel distributes new connections among them.

    They are bound here so that they outlive a crashed process: its connections wait for the restart.
    """
    # Fails if another service has the address, which SO_REUSEPORT alone would not.
    with listen(settings) as first:
        host, port = first.getsockname()[:2]
        family = first.family
    with ExitStack() as opened:
        yield [
            opened.enter_context(
                socket.create_server((host, port), family=family, backlog=2048, reuse_port=True)
            )
            for _ in range(settings.api_processes)
        ]


@contextmanager
def listen(settings: Settings) -> Iterator[socket.socket]:
    """A socket bound before the API starts: port 0 is resolved at once, and API restarts drop no client."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        fail(f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}", 1)
    with listener:
        yield listener


def _reachable(host: str) -> str:
    """The host to connect to: a loopback address if the socket listens on all interfaces."""
    everywhere = "0.0.0.0"  # noqa: S104  # nosec B104
    return {everywhere: "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def url_of(host: str, port: int) -> str:
    """The address under which this machine reaches what listens on `host`."""
    host = _reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def answers(host: str, port: int) -> bool:
    """Whether the API answers. The socket already listens, so the request waits until the API has started."""
    try:
        reader, writer = await asyncio.open_connection(_reachable(host), port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in status
