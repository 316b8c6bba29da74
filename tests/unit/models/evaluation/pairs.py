"""Paired outcomes of two models, built from counts of their right answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.types import Bools, Labels


def outcomes(table: Sequence[Sequence[int]]) -> tuple[Bools, Bools, Labels]:
    """(a right, b right, stratum) per sample, from counts (both, only a, only b, neither) per stratum."""
    kinds = np.concatenate([np.repeat(np.arange(4), row) for row in table])
    strata = np.repeat(np.arange(len(table)), np.sum(table, axis=1))
    return kinds < 2, kinds % 2 == 0, strata
