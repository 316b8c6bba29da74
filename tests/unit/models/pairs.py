"""Pairs of models by counts of what each got right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.paired import Bools, Labels


def outcomes(table: Sequence[Sequence[int]]) -> tuple[Bools, Bools, Labels]:
    """Right answers of a and of b and the stratum, from counts (both, a alone, b alone, none) a stratum."""
    kinds = np.concatenate([np.repeat(np.arange(4), row) for row in table])
    strata = np.repeat(np.arange(len(table)), np.sum(table, axis=1))
    return kinds < 2, kinds % 2 == 0, strata
