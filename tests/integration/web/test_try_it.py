"""The page where one image is tried, drawn from what the API says of the models."""

from __future__ import annotations

import re
from typing import Any

from masktune import Limits
from tests.integration.web.conftest import NO_API, Browse
from tests.support.answers import CREATED, MODEL
from tests.support.stub_api import stub_api
from web.transport.connection import connect

VERDICT: dict[str, Any] = {"verdict": "no_detectable_effect", "a": "masktune", "b": "masktune_control"}
JOB: dict[str, Any] = {"id": "job_1", "kind": "masktune", "state": "succeeded", "verdict": VERDICT} | CREATED
STEP = {"step": "use_control", "arm": "masktune_control", "model": "mdl_masktune_control"}
ENDED = {"ended_at": CREATED["created_at"]}
JUDGED = JOB | {"current": {"job": "job_1", "verdict": VERDICT, "evaluation": None, "next": [STEP]} | ENDED}


def first_choice(browse: Browse, job: dict[str, Any]) -> str:
    with stub_api() as api:
        arms = ("masktune", "erm", "masktune_control")
        models = [MODEL | {"id": f"mdl_{arm}", "arm": arm} for arm in arms]
        api.answers["/models"] = 200, {"data": models, "next_cursor": None}
        api.answers["/aliases"] = 200, {"data": []}
        api.answers["/jobs"] = 200, {"data": [JOB], "next_cursor": None}
        api.answers["/jobs/job_1"] = 200, job
        api.answers["/limits"] = 200, dict.fromkeys(Limits.model_fields, 10**9)
        api.answers["/keys/self"] = 200, {"scopes": ["predict"]}
        api.answers |= {f"/models/{model['id']}": (200, model) for model in models}
        connect(api.url)
        try:
            page = browse().get("/ui/try", headers={"Accept": "text/html"})
        finally:
            connect(NO_API)
    return str(re.findall(r'"label":"([^"]* · 2[^"]*)"', page.text)[0])


def test_the_recommended_model_is_tried_first(browse: Browse) -> None:
    assert "Control" in first_choice(browse, JUDGED)
    assert "MaskTune" in first_choice(browse, JOB)
