"""What an authenticating proxy says about the person behind a request, believed from that proxy alone.

The application believes nothing but the note in `scope["state"]`: without this middleware, and from any other
peer, such headers are ignored. It must be outside of `TrustedProxies`, which replaces the peer.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.middleware.peers import Peers
from core.proxy_user import ProxyUser


class ProxyIdentity:
    """Notes the headers of the settings, as they came, in `scope["state"]["identity"]`: pairs of lower-case
    name and text. Whether they name anybody is for the API to decide (`app.auth.people`), to which the
    dashboard passes them on.
    """

    def __init__(self, app: ASGIApp, user: ProxyUser) -> None:
        self.app, self._proxies = app, Peers(user.believed_from)
        self._names = {name.encode() for name in user.headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["client"]:
            identity = tuple((name, text) for name, text in scope["headers"] if name in self._names)
            if identity and await self._proxies.include(scope["client"][0]):
                scope.setdefault("state", {})["identity"] = identity
        await self.app(scope, receive, send)
