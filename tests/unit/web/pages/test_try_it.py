"""The answer that a page shows: that to the newest question, whichever comes last."""

from __future__ import annotations

import asyncio

import httpx2
from nicegui import Client as Page
from nicegui import ui
from starlette.requests import Request

from masktune import AsyncClient, Model, Retry
from masktune.client.drivers import AsyncDriver
from web.pages.try_it import Trial, TrialImage

CREATED = {"created_at": "2025-11-03T09:30:00.000Z"}
MODEL = {"id": "mdl_1", "arm": "erm", "backbone": "x", "classes": ["a"], "image_size": 8}


def test_a_late_answer_does_not_replace_a_newer_one() -> None:
    async def run() -> str:
        go = {sample: asyncio.Event() for sample in ("1", "2")}

        async def predict(request: httpx2.Request) -> httpx2.Response:
            if request.url.path != "/predict":
                return httpx2.Response(404)  # there is no saliency map
            sample = request.url.params["sample"]
            await go[sample].wait()
            prediction = {"decision": "answer", "label": f"the class of {sample}"}
            given = {"model": "mdl_1", "predictions": [prediction], "selection": {"status": "none"}}
            return httpx2.Response(200, json=given)

        request = Request({"type": "http", "path": "/try", "headers": [], "query_string": b""})
        http = httpx2.AsyncClient(base_url="http://test", transport=httpx2.MockTransport(predict))
        async with AsyncClient.over(AsyncDriver(http, Retry())) as client:
            with Page(ui.page(""), request=request):
                trial = Trial(client, {"mdl_1": "a model"})
                trial.build("mdl_1", "none", None, 10)
                trial.model = Model.model_validate(MODEL | CREATED)
                asked = {}
                for sample in go:
                    trial.image = TrialImage(f"sample {sample}", dataset="ds_1", sample=int(sample))
                    asked[sample] = asyncio.create_task(trial.answer())
                    await asyncio.sleep(0)
                for sample in ("2", "1"):
                    go[sample].set()
                    await asked[sample]
                return "".join(part.content for part in trial.answer_area if isinstance(part, ui.html))

    page = asyncio.run(run())
    assert "the class of 2" in page
    assert "the class of 1" not in page
