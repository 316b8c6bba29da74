"""The calibration error over many draws: of true probabilities and of ones that are too sure."""

from __future__ import annotations

import numpy as np

from models.evaluation.reliability import calibration_error


def test_the_error_of_true_probabilities_is_not_above_chance() -> None:
    rng = np.random.default_rng(0)
    above = {"true": 0, "too sure": 0}
    for _ in range(200):
        logits = np.stack([rng.normal(0, 2, 300), np.zeros(300)], 1).astype(np.float32)
        labels = (rng.random(300) > 1 / (1 + np.exp(-logits[:, 0]))).astype(np.int64)
        for name, scale in (("true", 1), ("too sure", 3)):
            found = calibration_error(logits * np.float32(scale), labels)
            assert found is not None
            assert found.ece_low <= found.ece <= found.ece_high
            above[name] += found.ece > found.ece_by_chance
    assert above["true"] <= 20  # 5 % of 200, and three standard deviations
    assert above["too sure"] >= 195
