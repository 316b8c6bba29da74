"""Which images the gallery of a report shows."""

from __future__ import annotations

import numpy as np

from worker.report.gallery import class_balanced


def test_the_gallery_is_balanced_over_classes() -> None:
    labels = np.array([0, 0, 0, 1, 0, 2, 1])
    assert class_balanced([0, 1, 2, 3, 4, 5, 6], labels) == [0, 3, 5, 1, 6, 2, 4]
    assert class_balanced([4, 2, 1], labels) == [4, 2, 1]
    assert class_balanced([], labels) == []
