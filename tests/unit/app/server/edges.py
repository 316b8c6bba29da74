"""An edge around an application of a test."""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp

from app.operations.metrics import Metrics
from app.server.edge import Edge
from app.server.guard import Guard
from app.server.proxies import Proxies
from core.proxy_user import ProxyUser


def api_edge(app: ASGIApp, *, limit: int = 1 << 20, **more: Any) -> Edge:
    """The edge of a closed API, whose bodies may have `limit` bytes."""
    return Edge(
        app,
        proxies=Proxies("", ProxyUser()),
        guard=Guard(allowed="", is_open=False),
        limit_of=lambda scope: limit,
        **{"metrics": Metrics()} | more,
    )
