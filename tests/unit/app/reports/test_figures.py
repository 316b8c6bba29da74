"""Where the object may be, by the mean maps of the original model."""

from __future__ import annotations

import pytest

from app.reports.figures import may_be_object
from masktune.contract.report.saliency import MeanMap, SaliencySummary
from masktune.contract.vocabulary import Arm


def summary(row: int, column: int) -> SaliencySummary:
    """Of the original model, whose mean map of 8 × 16 places has its maximum at this one."""
    places = [[float((i, j) == (row, column)) for j in range(16)] for i in range(8)]
    mean = MeanMap(id=0, name="a", n=9, undefined=0, map=places, error=None)
    other = mean.model_copy(update={"map": None})
    fields = {"split": "test", "n": 9, "split_size": 9, "after": None, "shift": None}
    return SaliencySummary.model_validate(
        fields | {"before": Arm.ERM, "mean_maps": {Arm.ERM: [other, mean]}, "pictures": [], "left_out": []}
    )


@pytest.mark.parametrize(
    ("row", "column", "region"),
    [
        (0, 1, "top-left corner"),
        (7, 14, "bottom-right corner"),
        (7, 5, "bottom edge"),
        (1, 15, "right edge"),
    ],
)
def test_a_region_that_the_maps_look_at_may_be_the_object(row: int, column: int, region: str) -> None:
    assert may_be_object(summary(row, column)) == {"centre", region}


def test_the_centre_may_be_the_object_without_maps() -> None:
    assert may_be_object(None) == {"centre"}
    assert may_be_object(summary(3, 5)) == {"centre"}
