"""The page of a model, drawn from what the API says of it and of its ERM model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.web.conftest import NO_API, Browse
from tests.support.answers import BROKEN, JUDGE, MODEL
from tests.support.stub_api import stub_api
from web.transport.connection import connect


@contextmanager
def model_page(browse: Browse, model: dict[str, Any], erm: dict[str, Any]) -> Iterator[str]:
    """The page of `mdl_1`, whose ERM model is `mdl_0`."""
    with stub_api() as api:
        api.answers["/models/mdl_1"] = 200, model
        api.answers["/models/mdl_0"] = 200, erm
        api.answers["/aliases"] = 200, {"data": []}
        api.answers["/keys/self"] = 200, {"scopes": ["read"]}
        connect(api.url)
        try:
            page = browse().get("/ui/models/mdl_1", headers={"Accept": "text/html"})
            assert page.status_code == 200
            yield page.text
        finally:
            connect(NO_API)


@pytest.mark.parametrize("whose", ["own", "that of its ERM model", "nobody's"])
def test_it_says_who_inferred_the_patterns_that_it_goes_by(browse: Browse, whose: str) -> None:
    own, erm = (JUDGE if whose == one else None for one in ("own", "that of its ERM model"))
    model = MODEL | {"id": "mdl_1", "calibration": None, "erm": "mdl_0", "pattern_judge": own}
    with model_page(browse, model, MODEL | {"id": "mdl_0", "pattern_judge": erm}) as page:
        assert ("Says of a new image which class" in page) is (whose != "nobody's")


def test_it_says_that_the_promise_of_the_model_is_broken(browse: Browse) -> None:
    model = MODEL | {"id": "mdl_1", "calibration": None, "erm": "mdl_0"}
    erm = MODEL | {"id": "mdl_0"}
    with model_page(browse, model | {"promise": BROKEN}, erm) as page:
        assert "of the answers are wrong is broken, noticed on 3 Nov 2025" in page
    with model_page(browse, model, erm) as page:
        assert "The promise" not in page
