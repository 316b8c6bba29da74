"""The page of a model, drawn from what the API says of it and of its ERM model."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.integration.web.conftest import NO_API
from tests.support.answers import JUDGE, MODEL
from tests.support.stub_api import stub_api
from web.transport.connection import connect


@pytest.mark.parametrize("whose", ["own", "that of its ERM model", "nobody's"])
def test_it_says_who_inferred_the_patterns_that_it_goes_by(dashboard: FastAPI, whose: str) -> None:
    model = MODEL | {"id": "mdl_1", "calibration": None, "erm": "mdl_0"}
    own, erm = (JUDGE if whose == one else None for one in ("own", "that of its ERM model"))
    with stub_api() as api, TestClient(dashboard, "http://localhost") as browser:
        api.answers["/models/mdl_1"] = 200, model | {"pattern_judge": own}
        api.answers["/models/mdl_0"] = 200, MODEL | {"id": "mdl_0", "pattern_judge": erm}
        api.answers["/aliases"] = 200, {"data": []}
        api.answers["/keys/self"] = 200, {"scopes": ["read"]}
        connect(api.url)
        try:
            page = browser.get("/ui/models/mdl_1", headers={"Accept": "text/html"})
        finally:
            connect(NO_API)
    assert page.status_code == 200
    assert ("Says of a new image which class" in page.text) is (whose != "nobody's")
