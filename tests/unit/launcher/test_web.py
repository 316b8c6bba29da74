"""One address for the dashboard and the API: who gets which request."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.types import ASGIApp

from launcher.web import Dashboard, beside


class Noted(Dashboard):
    """A dashboard that notes what it was asked, in place of showing it."""

    def __init__(self) -> None:
        super().__init__(lambda: "")
        self.asked: list[str] = []
        self.closed = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])

    async def aclose(self) -> None:
        self.closed = True


def _as_it_is(app: ASGIApp) -> ASGIApp:
    return app


async def _nothing(*_: object) -> Any:
    return {}


async def _asked(app: ASGIApp, scope: MutableMapping[str, Any]) -> None:
    await app(scope, _nothing, _nothing)


@pytest.mark.parametrize(
    ("path", "root", "mine"),
    [
        ("/", "", True),
        ("/ui", "", True),
        ("/ui/jobs", "", True),
        ("/jobs", "", False),
        ("/uiother", "", False),
        ("/docs", "", False),
        ("/masktune/ui/", "/masktune", True),
        ("/masktune/", "/masktune", True),
        ("/masktune/models", "/masktune", False),
    ],
)
def test_the_pages_and_the_api_share_an_address(path: str, root: str, mine: bool) -> None:
    dashboard, others = Noted(), []

    async def api(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        others.append(scope["path"])

    asyncio.run(_asked(beside(api, dashboard, _as_it_is), {"type": "http", "path": path, "root_path": root}))
    assert (dashboard.asked, others) == (([path], []) if mine else ([], [path]))


def test_the_dashboard_ends_with_the_api() -> None:
    dashboard = Noted()

    async def api(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        raise RuntimeError("the API did not start")

    with pytest.raises(RuntimeError):
        asyncio.run(_asked(beside(api, dashboard, _as_it_is), {"type": "lifespan"}))
    assert dashboard.closed


def test_a_dashboard_that_nobody_looked_at_ends_at_once() -> None:
    asyncio.run(Dashboard(lambda: "").aclose())
