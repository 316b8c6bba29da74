"""Ends pages whose key was revoked: their web sockets would stay open, opened while the key was valid."""

from __future__ import annotations

from nicegui import Client, background_tasks, ui

from masktune import ClientError, ProblemError
from web.transport.connection import api

HEARTBEAT_SECONDS = 15.0
"""As often as the API checks the key of an event stream."""
_POLICY_VIOLATION = 1008
"""Close code of a web socket (RFC 6455, 7.4.1)."""


def end_when_revoked() -> None:
    """Ask at every heartbeat whether the API still knows the visitor of the current page; if not, end it."""
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
