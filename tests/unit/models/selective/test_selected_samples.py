"""Why images of a review queue calibrate nothing: those that a model abstained on are a selected sample."""

from __future__ import annotations

import numpy as np
import pytest

from models.selective import CalibrationTable, Selection, threshold_for_coverage
from models.types import Bools, Floats

COVERAGE = 0.8


def inputs(n: int, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """`n` log-probabilities (n,) and whether each answer is right, as often as the score says."""
    scores = rng.uniform(0.5, 1.0, n)
    return np.log(scores), rng.random(n) < scores


def answered(selection: Selection, scores: Floats) -> Bools:
    assert selection.threshold is not None
    return scores >= selection.threshold


def behaviour(selection: Selection, scores: Floats, right: Bools) -> tuple[float, float]:
    """The coverage, and the risk of the answers."""
    chosen = answered(selection, scores)
    return float(chosen.mean()), float((~right[chosen]).mean())


@pytest.mark.parametrize("rounds", [1, 4])
def test_reviewed_images_that_were_abstained_on_would_bias_a_calibration(rounds: int) -> None:
    rng = np.random.default_rng(5)
    scores, right = inputs(4000, rng)
    honest = threshold_for_coverage(CalibrationTable.build(scores, right), COVERAGE)
    later_scores, later_right = inputs(100_000, rng)
    coverage, risk = behaviour(honest, later_scores, later_right)
    assert coverage == pytest.approx(COVERAGE, abs=0.02)
    assert risk == pytest.approx(honest.point.risk, abs=0.02)

    served_scores, served_right = inputs(4000 * rounds, rng)
    abstained = ~answered(honest, served_scores)
    mixed = threshold_for_coverage(
        CalibrationTable.build(
            np.append(scores, served_scores[abstained]), np.append(right, served_right[abstained])
        ),
        COVERAGE,
    )
    coverage, risk = behaviour(mixed, later_scores, later_right)
    # Neither figure that the mixed calibration would report is true of what the model is sent.
    assert coverage > COVERAGE + 0.025
    assert mixed.point.risk is not None
    assert risk < mixed.point.risk - 0.005
