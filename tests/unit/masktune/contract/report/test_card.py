"""A card says what the service knows, from which job, and marks what a person must add."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from masktune.contract.datasets import Dataset
from masktune.contract.models import CalibrationRef, Model
from masktune.contract.predictions import Calibration, Selection
from masktune.contract.report import Report
from masktune.contract.report.text.card import Card, card_parts
from masktune.contract.report.text.verdict import verdict
from masktune.contract.vocabulary import Arm
from tests.support.reports import report

AT = datetime(2026, 11, 3, 10, 15, tzinfo=UTC)
REPORT = Report.model_validate(report())
MODEL = REPORT.models[Arm.MASKTUNE].id
PARAMS = {"epochs": 3, "optimizer": {"name": "sgd"}, "pretrained": True, "seed": None, "gpus": 1}
DATASET = Dataset.model_validate(
    {
        "id": "ds_1",
        "name": "squares <b>",
        "job": "job_import",
        "state": "ready",
        "format": "csv",
        "created_at": AT,
        "report": {"classes": {"train": {"0-4": 1200, "5-9": 3}}},
    }
)


def _card(status: str = "none", *, calibrated: bool = True, **fields: Any) -> Card:
    counts = Calibration(id="cal_1", n=400, n_answered=390, n_errors=2, coverage=0.9, risk_confidence=0.95)
    reference = CalibrationRef(id="cal_1", n=400, job="job_calibrate")
    model = Model(
        id=MODEL,
        job="job_train",
        arm=Arm.MASKTUNE,
        backbone="resnet18",
        classes=["0-4", "5-9"],
        image_size=64,
        calibration=reference if calibrated else None,
        created_at=AT,
    ).model_copy(update=fields)
    selection = Selection(
        status=status,
        requested=None if status == "none" else 0.05,
        calibration=counts if calibrated else None,
    )
    return Card(model=model, weights="abc", selection=selection)


def _sentences(card: Card, **more: Any) -> dict[str, list[tuple[str, str | None]]]:
    fields: dict[str, Any] = {
        "dataset": (DATASET, "d1g"),
        "params": PARAMS,
        "licence": "BSD",
        "report": REPORT,
    }
    parts = card_parts(card, **(fields | more))
    return {part.title: [(one.text, one.job) for one in part.sentences] for part in parts}


def test_each_sentence_names_the_job_that_it_comes_from() -> None:
    said = _sentences(_card("certified"))
    jobs = {title: {job for _, job in sentences} for title, sentences in said.items() if sentences}
    assert jobs == {
        "Trained on": {"job_import"},
        "How": {"job_train"},
        "Verdict": {"job_train"},
        "When it answers": {"job_calibrate"},
        "Not for": {"job_calibrate"},
    }
    assert [title for title, sentences in said.items() if not sentences] == [
        "Intended use",
        "Who answers for it",
        "Licence of the model and of its training images",
    ]
    assert "its train split has 1,203 samples: 0-4 1,200, 5-9 3." in said["Trained on"][1][0].lower()
    how = " ".join(text for text, _ in said["How"])
    assert "published weights (licence: BSD)" in how
    assert 'Hyperparameters: epochs 3, optimizer {"name": "sgd"}.' in how


def test_the_verdict_is_that_of_the_report_with_its_intervals() -> None:
    texts = [text for text, _ in _sentences(_card())["Verdict"]]
    judged = verdict(REPORT)
    assert texts[:4] == [f"{judged.title}.", judged.sentence, judged.figures, judged.rule]
    metrics = REPORT.metrics["test"][Arm.MASKTUNE]
    (worst,) = (text for text in texts if text.startswith("Worst-group accuracy"))
    assert f"{100 * (metrics.worst_group_accuracy or 0):.1f}\u00a0% on 400 test samples, 95\u00a0%" in worst
    assert "Verdict" not in _sentences(_card(id="mdl_another"))
    assert "Verdict" not in _sentences(_card(), report=None)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("none", "No policy was asked for"),
        ("raw_threshold", "As asked for, the graph answers no input with a score below 0.05."),
        ("target_coverage", "The graph answers the surest 5\u00a0% of inputs"),
        ("not_certifiable", "Not certifiable: with these 400 calibration samples"),
        ("certified", "Certified: with 95\u00a0% confidence over the draw"),
    ],
)
def test_when_it_answers_is_told_of_each_policy(status: str, sentence: str) -> None:
    sentences = _sentences(_card(status))
    assert sentences["When it answers"][0][0].startswith(sentence)
    promises = any(
        text.startswith("This is no promise about a single input") for text, _ in sentences["Not for"]
    )
    assert promises is (status == "certified")


@pytest.mark.parametrize("status", ["none", "raw_threshold", "certified"])
@pytest.mark.parametrize("unlike_threshold", [None, 0.2])
def test_that_unlike_inputs_abstain_is_told_where_they_do(
    status: str, unlike_threshold: float | None
) -> None:
    reference = CalibrationRef(id="cal_1", n=400, job="job_calibrate", unlike_threshold=unlike_threshold)
    sentences = _sentences(_card(status, calibration=reference))
    told = any("abstains on an input that is unlike" in text for text, _ in sentences["When it answers"])
    assert told is (status != "none" and unlike_threshold is not None)
    assert not any("unlike" in text for text, _ in sentences["Not for"])


def test_what_is_not_known_is_not_invented() -> None:
    card = _card(calibrated=False, job=None, arm=Arm.IMPORTED)
    said = _sentences(card, dataset=None, params={}, licence=None, report=None)
    assert said["Trained on"][0][0].startswith("What it was trained on is not known here")
    assert not any("Hyperparameters" in text or "weights of" in text for text, _ in said["How"][2:])
    assert {job for sentences in said.values() for _, job in sentences} == {None}


def test_people_read_the_same_sentences_and_no_markup_of_names() -> None:
    card = _card()
    parts = card_parts(card, (DATASET, "d1g"), PARAMS, None, REPORT)
    text = card.model_copy(update={"parts": parts}).markdown()
    assert text.startswith(
        f"# Model {MODEL}\n\n## Trained on\n\n- It was trained on the data set squares &lt;b&gt;"
    )
    assert "is d1g. (job_import)\n" in text
    assert text.endswith(
        "## Licence of the model and of its training images\n\n**To be added by a person:** "
        "the service does not know it.\n"
    )
