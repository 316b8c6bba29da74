"""Judgements of the models of a job: which of them is the current one."""

from __future__ import annotations

from typing import Any

import pytest

from masktune.contract.jobs import Judgement
from masktune.contract.jobs.judgements import current
from tests.support.answers import EVALUATION, JOB

NONE = {"groups": None, "smallest_group": None}


def judgement(job: str, evaluation: dict[str, Any] | None, **verdict: Any) -> Judgement:
    return Judgement.model_validate(
        {
            "job": job,
            "verdict": JOB["verdict"] | verdict,
            "evaluation": None if evaluation is None else EVALUATION | evaluation,
            "ended_at": 9.0,
        }
    )


@pytest.mark.parametrize(
    ("own", "other", "counts"),
    [
        ({"groups": "inferred"}, {"smallest_group": 10}, "other"),
        ({"smallest_group": 20}, {"smallest_group": 19}, "own"),
        ({"groups": "inferred"}, NONE, "own"),
        (NONE | {"created_at": 1}, NONE | {"created_at": 2}, "other"),
    ],
    ids=["labelled before inferred", "the larger smallest group", "inferred before none", "the newer"],
)
def test_the_current_one_rests_on_the_most(own: dict[str, Any], other: dict[str, Any], counts: str) -> None:
    judgements = [judgement("own", own), judgement("other", other)]
    for order in (judgements, judgements[::-1]):
        latest = current(order)
        assert latest is not None
        assert latest.job == counts


@pytest.mark.parametrize(
    ("verdict", "other", "counts"),
    [
        ({"inferred": True}, NONE, "own"),
        ({"inferred": True}, {"groups": "inferred"}, "other"),
        ({"inferred": False}, {"groups": "inferred"}, "own"),
        ({"verdict": "not_testable", "reason": "no_groups"}, {"groups": "inferred"}, "other"),
    ],
)
def test_of_a_job_of_version_0_1_0_the_verdict_says_what_it_rests_on(
    verdict: dict[str, Any], other: dict[str, Any], counts: str
) -> None:
    latest = current([judgement("own", None, **verdict), judgement("other", other)])
    assert latest is not None
    assert latest.job == counts


def test_without_a_verdict_there_is_none() -> None:
    nothing_compared = {"job": "own", "verdict": None, "evaluation": None, "ended_at": 1.0}
    assert current([Judgement.model_validate(nothing_compared)]) is None
    assert current([]) is None
