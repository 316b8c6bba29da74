"""Which images the gallery of a report shows."""

from __future__ import annotations

import numpy as np

from worker.report.gallery import class_balanced, ordinary


def test_the_gallery_is_balanced_over_classes() -> None:
    labels = np.array([0, 0, 0, 1, 0, 2, 1])
    assert class_balanced([0, 1, 2, 3, 4, 5, 6], labels) == [0, 3, 5, 1, 6, 2, 4]
    assert class_balanced([4, 2, 1], labels) == [4, 2, 1]
    assert class_balanced([], labels) == []


def test_ordinary_images_are_answered_by_every_model_with_the_usual_confidence() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    before, after = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 0, 0, 1, 0])
    confidence = np.array([0.5, 0.9, 0.8, 0.7, 0.81, 0.8])
    assert ordinary([before, after], confidence, labels) == [2, 4, 1, 0]
    assert ordinary([1 - labels], confidence, labels) == []
