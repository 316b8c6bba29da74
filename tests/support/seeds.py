"""The seeds of tests that train: `--seed-offset` shifts them all, as an outcome may not hang on one."""

from __future__ import annotations

import os

VARIABLE = "TEST_SEED_OFFSET"
"""In the environment, where the processes of a run and those that tests start find it."""
_STRIDE = 1000
"""No test has so many seeds: shifted ones are none of the others."""


def seed(number: int) -> int:
    """This seed, shifted."""
    return number + _STRIDE * int(os.environ.get(VARIABLE, "0"))
