"""What the visitor's key may not do is not offered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from masktune import Limits
from masktune.contract.report.text.judged_job import BREAKS_PATTERN
from masktune.contract.report.text.next_steps import PATTERN_ANSWERS, PATTERN_HINT
from tests.integration.web.conftest import NO_API, Browse
from tests.support import answers
from tests.support.answers import CREATED, DATASET
from tests.support.reports import report
from tests.support.stub_api import StubApi, stub_api
from web.transport.connection import connect

MODEL = answers.MODEL | {"id": "mdl_1", "calibration": None}
ALIAS = answers.ALIAS | {"model": "mdl_1"}
JOB = {"id": "job_1", "kind": "erm", "state": "cancelled", "dataset": "ds_1"} | CREATED
TRAINED = JOB | {"id": "job_2", "kind": "mitigate", "state": "succeeded"}
STEPS = [
    {"step": "use_model", "arm": "masktune", "model": "mdl_1"},
    {"step": "review_images", "samples": [4]},
    {"step": "add_test_images", "per_class": 100},
    {"step": "label_more", "per_class": 60},
    {"step": "compare_networks", "balanced_accuracy": 0.6, "chance": 0.5},
    {"step": "train_more_seeds", "seeds": 3},
]
RECOMMENDED = {"arm": "masktune", "model": "mdl_1", "reason": "masktune_helped", "next": STEPS}
SAMPLE = {"split": "train", "path": "a/4.png", "label": "a", "width": 28, "height": 28, "sha256": ""}
REPORT = report()
SAMPLES = f"/datasets/{REPORT['dataset']['id']}/samples"
PREDICTED = {"prediction": {"decision": "answer", "label": "a"}}
REVIEW = (
    {"id": "rev_1", "model": "mdl_1", "kind": "audit", "state": "waiting", "sha256": ""} | PREDICTED | CREATED
)
ANSWERS: dict[str, tuple[int, Any]] = {
    "/limits": (200, dict.fromkeys(Limits.model_fields, 10**9)),
    "/models/mdl_1": (200, MODEL),
    "/datasets/ds_1": (200, DATASET),
    "/jobs/job_1": (200, JOB),
    "/jobs/job_2": (200, TRAINED),
    "/jobs/job_2/report": (200, REPORT | {"kind": "mitigate", "recommendation": RECOMMENDED}),
    SAMPLES: (200, {"data": [SAMPLE | {"id": number} for number in (4, 5)]}),
    f"{SAMPLES}/4": (200, SAMPLE | {"id": 4}),
    "/datasets/ds_1/samples/4": (200, SAMPLE | {"id": 4}),
    "/reviews/next": (200, REVIEW),
    "/reviews/rev_1/image": (404, {"status": 404}),
    "/aliases": (200, {"data": [ALIAS]}),
    "/aliases/best": (200, ALIAS),
}


@pytest.fixture
def api() -> Iterator[StubApi]:
    with stub_api() as stub:
        stub.answers |= ANSWERS
        yield stub


@pytest.mark.parametrize(
    ("path", "scope", "offered"),
    [
        ("/ui/", "train", ["dataset-drop", "Try a built-in data set"]),
        ("/ui/models", "train", ["model-drop"]),
        ("/ui/datasets/ds_1", "train", ["Train past shortcuts", "Other jobs", "Rename"]),
        ("/ui/datasets/ds_1", "admin", ["Delete"]),
        ("/ui/datasets/ds_1/samples/4", "predict", ['"looks"']),
        ("/ui/reviews", "review", ["Skip (s)", "/files/reviews/rev_1/image"]),
        ("/ui/jobs", "review", ["/ui/reviews"]),
        ("/ui/jobs", "train", ["New job"]),
        ("/ui/jobs/job_1", "train", ['"label":"Resume"', "Rename"]),
        ("/ui/jobs/job_1", "admin", ['"label":"Delete"', "Storage"]),
        ("/ui/jobs/job_2/report", "admin", ["Use this model"]),
        (
            "/ui/jobs/job_2/report",
            "train",
            ["Judge on other images", "Upload images", "Train a small network", "Train with more seeds"],
        ),
        ("/ui/jobs/job_2/judge", "train", ["judge-drop", BREAKS_PATTERN]),
        ("/ui/jobs/job_2/image-answers", "train", [*PATTERN_ANSWERS.values(), PATTERN_HINT]),
        ("/ui/new", "train", ["There is no data set to train on yet"]),
        ("/ui/models/mdl_1", "train", ["Evaluate", "Rename"]),
        ("/ui/models/mdl_1", "admin", ["Delete alias", "Point it at this model"]),
        ("/ui/try?model=mdl_1", "predict", ["When to answer"]),
    ],
)
def test_pages_offer_only_what_the_key_may_do(
    browse: Browse, api: StubApi, path: str, scope: str, offered: list[str]
) -> None:
    connect(api.url)
    try:
        for scopes, there in (([scope, "read"], True), (["admin"], True), (["read"], False)):
            api.answers["/keys/self"] = 200, {"scopes": scopes}
            page = browse().get(path, headers={"Accept": "text/html"})
            assert page.status_code == 200
            assert [text in page.text for text in offered] == [there] * len(offered), scopes
    finally:
        connect(NO_API)
