"""The likeliest classes of an input: as a stable sort of all of them would have it."""

from __future__ import annotations

import math

import numpy as np

from app.predictions.presenter import largest


def test_no_number_is_no_candidate() -> None:
    assert largest(np.full(40, math.nan), 2) == []
