"""What a person said of images, in reports that 0.1.0 stored."""

from __future__ import annotations

from masktune.contract.report import Report
from tests.support.reports import early_stage_groups, report

SECTION = {"job": "job_1", "by": "Ada", "at": 1.7e9, "gate": "open", "answered": 50, "lacking": 46}


def test_answers_are_read_by_the_name_that_0_1_0_gave_them() -> None:
    stored = report() | {"groups": early_stage_groups("opened").model_dump(), "review": None}
    details = stored["groups"]["details"]
    del stored["image_answers"], details["image_answers"]
    details["review"] = SECTION
    read = Report.model_validate(stored).model_dump(mode="json", exclude_none=True)
    assert read["groups"]["details"]["image_answers"] == SECTION
    assert "review" not in read["groups"]["details"]
    assert not hasattr(Report.model_validate(stored), "review")
