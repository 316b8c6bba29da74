"""Which answers are of the promise that the audit sample monitors."""

from __future__ import annotations

from typing import Any

import pytest

from app.review_queue.queueing import draw
from core.tables import ModelRow
from masktune.contract.serving.predictions import Answer

MODEL = ModelRow(
    id="mdl_1",
    calibration={"id": "cal_1"},
    review_policy={"enabled": True, "audit_share": 1.0, "max_risk": 0.05, "risk_confidence": 0.95},
)
SELECTION: dict[str, Any] = {
    "policy": "max_risk",
    "requested": 0.05,
    "status": "certified",
    "threshold": 0.5,
    "calibration": {
        "id": "cal_1",
        "n": 90,
        "n_answered": 80,
        "n_errors": 0,
        "coverage": 0.9,
        "risk_confidence": 0.95,
    },
}


@pytest.mark.parametrize(
    ("other", "drawn"),
    [({}, 1), ({"policy": "by_class"}, 0), ({"requested": 0.06}, 0), ({"status": "not_certifiable"}, 0)],
)
def test_an_answer_is_drawn_under_its_very_promise(other: dict[str, Any], drawn: int) -> None:
    prediction = {"decision": "answer", "label": "a", "score": 0.9, "candidates": []}
    answer = Answer.model_validate(
        {"model": "mdl_1", "predictions": [prediction], "selection": SELECTION | other}
    )
    assert len(draw(MODEL, answer, random=lambda: 0.0)) == drawn
