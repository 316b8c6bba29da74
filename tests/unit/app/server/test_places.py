"""As many predictions as may be in flight are let in; the others are told at once, and nobody else is."""

from __future__ import annotations

import asyncio

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.inference import Admission
from tests.unit.app.server.edges import api_edge

pytestmark = pytest.mark.anyio


class App:
    """Answers when it is let go; `/fails` raises."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["query_string"] == b"fail":
            raise RuntimeError("it fails")
        if scope["path"].removeprefix("/behind") == "/predict":
            await self.go.wait()
        await PlainTextResponse("done")(scope, receive, send)


async def test_those_beyond_the_bound_are_refused_and_places_come_back() -> None:
    inner = App()
    admission = Admission(2, 1)
    transport = httpx2.ASGITransport(
        api_edge(inner, admission=admission), raise_app_exceptions=False, root_path="/behind"
    )
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.post("/saliency?fail")).status_code == 500  # its place comes back too
        inside = [asyncio.create_task(http.post(path)) for path in ("/predict", "/behind/predict")]
        while admission.in_flight < 2:
            await asyncio.sleep(0)
        refused = await http.post("/predict")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == "/problems/overloaded"
        assert (await http.post("/ui/upload/image")).status_code == 503
        for path in ("/livez", "/jobs/predict", "/ui/predict"):
            assert (await http.get(path)).status_code == 200
        inner.go.set()
        assert [(await one).status_code for one in inside] == [200, 200]
        assert (await http.post("/predict")).status_code == 200
        assert admission.in_flight == 0
