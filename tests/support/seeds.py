"""The seeds of tests that train: `--seed-offset` shifts them all, as no outcome may hang on one."""

from __future__ import annotations

import os

VARIABLE = "TEST_SEED_OFFSET"
"""In the environment, where all processes of a run find it."""
_STRIDE = 1000
"""Tests have smaller seeds: none becomes another one of them."""


def shifted(seed: int) -> int:
    """The seed to use in place of this one."""
    return seed + _STRIDE * int(os.environ.get(VARIABLE, "0"))
