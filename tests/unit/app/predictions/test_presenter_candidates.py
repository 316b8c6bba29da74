"""The likeliest classes of an input: as a stable sort of all of them would have it."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from app.predictions.presenter import largest

ROWS = arrays(np.float64, st.integers(1, 40), elements=st.sampled_from([0.0, 0.1, 0.25, 0.3, 1.0]))


@given(row=ROWS, count=st.integers(1, 50))
def test_equals_come_in_the_order_of_the_classes(row: NDArray[np.float64], count: int) -> None:
    values = row.tolist()
    expected = sorted(range(len(values)), key=values.__getitem__, reverse=True)[:count]
    assert largest(row, count) == [(k, values[k]) for k in expected]


def test_no_number_is_no_candidate() -> None:
    assert largest(np.full(40, math.nan), 2) == []
