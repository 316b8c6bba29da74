"""Parts of pages, drawn from what the API says. What they say is in `tests/golden_texts`."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from masktune import Dataset, Drift, Job, Model, PredictionCounts
from masktune.contract.report.text import evaluation_statement
from tests.golden_texts.reports import golden_report
from tests.golden_texts.visible_text import visible_text
from tests.support.answers import DATASET, EVALUATION, JOB, JUDGEMENT, MODEL
from tests.support.reports import evidence, report
from web.shell import render
from web.text import labels


def test_every_drift_status_has_a_tone() -> None:
    assert set(get_args(Drift.model_fields["status"].annotation)) <= labels.TONES.keys()


@pytest.mark.parametrize(("number", "are_listed"), [(2, True), (60, True), (61, False), (1000, False)])
def test_many_classes_are_counted_but_not_listed(number: int, are_listed: bool) -> None:
    names = [f"class {n}" for n in range(number)]
    by_class = {split: dict.fromkeys(names, 5) for split in ("train", "test")}
    fields = {"classes": names, "groups": [], "report": {"classes": by_class}}
    dataset = Dataset.model_validate(DATASET | {"splits": {"train": 90, "test": 30}} | fields)
    lines = visible_text(render("dataset_report", d=dataset, splits=["train", "test"], link=str)).splitlines()
    assert [line for line in lines if line.startswith("class ")] == (
        [f"{name} | 5 | 5" for name in names] if are_listed else []
    )
    assert "All | 90 | 30" in lines
    assert (f"{labels.number(number)} classes, not listed." in lines) is not are_listed


def test_a_model_shows_every_evaluation_and_first_the_figures_of_the_first() -> None:
    on_birds = EVALUATION | {"groups": "inferred", "job": None}
    without_groups = EVALUATION | {
        "dataset_name": "cats <b>",
        "n": 7,
        "groups": None,
        "smallest_group": None,
        "worst_group_accuracy": None,
    }
    model = Model.model_validate(MODEL | {"evaluations": [on_birds, without_groups]})
    page = render("model_figures", m=model, judge=None, link=str)
    facts, table = (visible_text(part) for part in page.split("<h2>Evaluations</h2>"))
    for line in ("Worst inferred group", "1,200 test images of birds", "interval 48.0 – 73.0"):
        assert line in facts
    assert "Test accuracy" not in facts
    assert "cats &lt;b&gt;" in page
    birds, cats = (line for line in table.splitlines() if "birds" in line or "cats" in line)
    for cell in ("1,200", "inferred60 in the smallest", "61.0", "92.0", "deleted"):
        assert cell in birds.replace(" 60 in", "60 in")
    for cell in ("none that decide", "–", "92.0", "report"):
        assert cell in cats
    assert "/jobs/job_1/report" in page
    listed = render("models", models=[model], aliases_of={}, names={}, is_filtered=False, link=str)
    assert "on birds" in visible_text(listed)
    without = visible_text(
        render("model_figures", m=model.model_copy(update={"evaluations": []}), judge=None, link=str)
    )
    assert "Evaluations" not in without
    assert "Test accuracy" in without


def test_a_report_names_the_images_of_each_judgement_and_which_one_counts() -> None:
    own = JUDGEMENT | {"job": "job_1"}
    without_verdict = JUDGEMENT | {"job": "job_4", "verdict": None, "evaluation": None}
    judgements = [JUDGEMENT, own, without_verdict]

    def head(current: dict[str, Any]) -> str:
        job = Job.model_validate(JOB | {"judgements": judgements, "current": current})
        report = golden_report("masktune_helped")
        fields = {"arms": [], "notes": (), "statement": evaluation_statement}
        return render("report_head", report=report, job=job, link=str, **fields)

    page = head(JUDGEMENT)
    assert "1,200 test images of birds" in page
    assert [f"/jobs/{job}/report" in page for job in ("job_3", "job_4")] == [True, True]
    assert "That on birds rests on more than this report" in page
    assert "rests on more" not in head(own)


def test_a_predict_job_shows_its_coverage_its_reasons_and_its_drift() -> None:
    drift = {"status": "drifted", "inputs": 8, "level": 0.01, "tests": []}
    reasons = {"below_threshold": 1, "unlike_training": 2}
    fields: dict[str, Any] = {"answered": 5, "abstained": 3, "coverage": 0.625, "abstain_reasons": reasons}
    job = Job.model_validate(JOB | {"kind": "predict", "params": {"coverage": 0.9}})
    counts = PredictionCounts.model_validate(fields | {"drift": drift})
    page = render("predictions_summary", job=job, counts=counts)
    shown = visible_text(page)
    assert "62.5\u00a0% of the 8 readable images are answered; requested: 90\u00a0%" in shown
    assert "Not answered: 1 below the threshold, 2 unlike the training images." in shown
    assert "8 independent images of this job" in shown
    assert "callout bad" in page
    assert not visible_text(render("predictions_summary", job=job, counts=None)).strip()


@pytest.mark.parametrize(("on_test", "may_be"), [(0.99, True), (0.4, False)])
def test_the_centre_may_be_the_object_unless_the_test_images_refute_it(on_test: float, may_be: bool) -> None:
    check = evidence(report())["properties"]
    there = {"split": "test", "n": 9, "correct": 4, "accuracy": on_test, "low": 0.3, "high": on_test}
    first = check["findings"][0] | {"where": "centre", "low": 0.9, "elsewhere": there}
    shortcuts = check | {"findings": [first], "metadata": None}
    dataset = Dataset.model_validate(DATASET | {"report": {"shortcuts": shortcuts}})
    page = render("dataset_report", d=dataset, splits=[], link=str)
    assert ("may be the object itself" in visible_text(page)) is may_be
