"""Cards of models, by the policy whose threshold is in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from masktune import Calibration, CalibrationRef, Dataset, Model, Selection
from masktune.contract.report.text.card import Card, card_parts
from masktune.contract.vocabulary import Arm, SelectionStatus
from tests.golden_texts.reports import golden_report
from tests.support.answers import EVALUATION, PROMISES

AT = datetime(2026, 11, 3, 10, 15, tzinfo=UTC)
PARAMS = {"epochs": 3, "optimizer": {"name": "sgd"}, "pretrained": True, "seed": None}
DATASET: dict[str, Any] = {"id": "ds_1", "name": "squares <b>", "job": "job_import", "state": "ready"}
DATASET |= {"format": "csv", "created_at": AT, "report": {"classes": {"train": {"0-4": 1200, "5-9": 3}}}}
COUNTS = Calibration(id="cal_1", n=400, n_answered=390, n_errors=2, coverage=0.9, risk_confidence=0.95)


def _card(status: str, arm: Arm, unlike_threshold: float | None = 0.2, **fields: Any) -> Card:
    calibration = CalibrationRef(id="cal_1", n=400, job="job_calibrate", unlike_threshold=unlike_threshold)
    plain: dict[str, Any] = {"id": f"mdl_{arm}", "arm": arm, "job": "job_train", "created_at": AT}
    plain |= {"backbone": "resnet18", "image_size": 64, "classes": ["0-4", "5-9"], "calibration": calibration}
    model = Model.model_validate(plain | fields)
    selection: dict[str, Any] = {"status": status, "requested": 0.05}
    selection |= {"calibration": model.calibration and COUNTS}
    selection |= {"promises": PROMISES if status == "partly_certified" else []}
    return Card(model=model, weights="abc", selection=Selection.model_validate(selection))


def cards() -> Iterator[tuple[str, str]]:
    """The card for people, with the job that each sentence comes from."""
    dataset, report = (Dataset.model_validate(DATASET), "d1g"), golden_report("masktune_helped")

    def text(card: Card, params: dict[str, Any], *, is_known: bool = True, is_judged: bool = True) -> str:
        of_job = report if is_judged else None
        parts = card_parts(card, dataset if is_known else None, params, "BSD" if is_known else None, of_job)
        return card.model_copy(update={"parts": parts}).markdown()

    for status in SelectionStatus:
        yield status, text(_card(status, Arm.MASKTUNE), PARAMS, is_judged=status == "certified")
    control = _card("certified", Arm.MASKTUNE_CONTROL, unlike_threshold=None)
    yield "a control, from other weights", text(control, {"pretrained": "mdl_7"})
    yield "a model that the report has not", text(_card("none", Arm.RETRAINED), {})
    unknown = _card("none", Arm.IMPORTED, job=None, calibration=None)
    yield "an imported model", text(unknown, {}, is_known=False, is_judged=False)
    evaluations = [EVALUATION, EVALUATION | {"dataset_name": "<b>", "groups": None, "job": None}]
    evaluated = _card("none", Arm.IMPORTED, job=None, calibration=None, evaluations=evaluations)
    yield "an imported model that was evaluated", text(evaluated, {}, is_known=False, is_judged=False)
