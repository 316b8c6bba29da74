"""Parts of pages, drawn from what the API says. What they say is in `tests/golden_texts`."""

from __future__ import annotations

from typing import get_args

import pytest

from masktune import Dataset, Drift
from tests.golden_texts.visible_text import visible_text
from tests.support.answers import DATASET
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
