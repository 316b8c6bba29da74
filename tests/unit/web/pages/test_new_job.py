"""The form of a job like an earlier one."""

from __future__ import annotations

from typing import Any

import pytest

from masktune import Job
from tests.support.answers import JOB
from web.pages.new_job import by_pointer, values_of


def job(kind: str, request: dict[str, Any], **inputs: str) -> Job:
    return Job.model_validate(JOB | {"kind": kind, "request": request, "inputs": inputs})


@pytest.mark.parametrize(
    ("earlier", "values"),
    [
        (
            job("erm", {"dataset": "ds_1", "optimizer": {"momentum": 0.8}, "pretrained": None}),
            {"/dataset": "ds_1", "/optimizer/momentum": 0.8},
        ),
        (
            job("predict", {"model": "production", "max_risk": 0.05}, model="mdl_1"),
            {"/model": "mdl_1", "policy": "max_risk", "/max_risk": 5.0, "/dataset": "ds_1"},
        ),
        (
            job("predict", {"max_class_risk": 0.05, "max_missed": 0.1, "set_coverage": 0.9}),
            {"policy": "by_class", "/max_class_risk": 5.0, "/max_missed": 10.0}
            | {"/set_coverage": 0.9, "/dataset": "ds_1"},
        ),
        (
            job("erm", {"metadata": {"a/b.c": "d"}}),
            {"/metadata": {"a/b.c": "d"}, "/dataset": "ds_1"},
        ),
    ],
)
def test_fields_show_what_the_job_was_asked_for(earlier: Job, values: dict[str, Any]) -> None:
    shown = {pointer: entry for pointer, entry in values_of(earlier).items() if entry is not None}
    assert shown == values


def test_a_limit_that_the_job_did_not_have_is_not_added() -> None:
    values = values_of(job("predict", {"max_missed": 0.1}))
    assert (values["/max_missed"], values["/max_class_risk"]) == (10.0, None)


def test_what_is_sent_again_is_what_was_sent() -> None:
    assert by_pointer(job("predict", {"model": "production", "max_risk": 0.05}, model="mdl_1")) == {
        "/model": "production",
        "/max_risk": 0.05,
    }


def test_the_source_of_an_earlier_job_is_shown_as_the_data_set_that_was_made_of_it() -> None:
    values = values_of(job("predict", {"source": "s3://bucket/today/", "output": "csv"}))
    assert "/source" not in values
    assert (values["/dataset"], values["/output"]) == ("ds_1", "csv")
