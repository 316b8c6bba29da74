"""What masks change, where images come in subjects."""

from __future__ import annotations

import numpy as np
import pytest

from models.shortcuts.masking_cost import MaskedPredictions, masking_cost
from models.shortcuts.saliency_summary import saliency_shifts


def test_copies_of_each_image_say_no_more_of_masks_than_one() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    own, elsewhere = (np.where(rng.random(120) < share, labels, 1 - labels) for share in (0.6, 0.9))
    masked = rng.random(120)

    def cost(times: int, *, counted: bool = True) -> tuple[float, ...]:
        columns = (
            np.repeat(column, times) for column in (np.arange(120), labels, masked, labels, own, elsewhere)
        )
        clusters = np.repeat(np.arange(120), times) if counted else None
        measured = masking_cost(
            MaskedPredictions(*columns), clusters=clusters, generator=np.random.default_rng(0)
        )
        assert measured.arms[1].n_subjects == (120 if counted else None)
        arm = measured.classes[0].arms[1]
        return (
            measured.cost.high - measured.cost.low,
            measured.masked_high - measured.masked_low,
            arm.high - arm.low,
            arm.changed_high - arm.changed_low,
        )

    assert cost(8) == pytest.approx(cost(1), rel=0.15)
    assert max(np.array(cost(8, counted=False)) / cost(1)) < 0.5


def test_copies_of_each_map_do_not_narrow_how_much_saliency_moved() -> None:
    before, after = np.random.default_rng(0).random((2, 50, 4, 4)).astype(np.float32)
    labels = np.arange(50) % 2

    def width(times: int) -> float:
        shifts = saliency_shifts(
            np.repeat(before, times, axis=0),
            np.repeat(after, times, axis=0),
            np.repeat(labels, times),
            classes=("a", "b"),
            clusters=np.repeat(np.arange(50), times),
        )
        of = shifts.classes[0]
        assert of.low is not None
        assert of.high is not None
        return of.high - of.low

    assert width(8) == pytest.approx(width(1), rel=0.15)
