"""Count a split by every score: the whole split, and each of its groups and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.selective.scores import SCORES, Scored, score_inputs
from models.selective.table import CalibrationTable
from models.types import Counts


class SplitTables(NamedTuple):
    """Tables by score, by score and group name, and by score and true class name."""

    scores: dict[str, CalibrationTable]
    groups: dict[str, Mapping[str, CalibrationTable]]
    classes: dict[str, Mapping[str, CalibrationTable]]


def count_split(
    logits: ArrayLike,
    erm_logits: ArrayLike | None,
    labels: Counts,
    *,
    classes: Sequence[str],
    groups: Counts,
    group_names: Sequence[str],
) -> SplitTables:
    """Count N samples: `logits`, `erm_logits` (N, K), true `labels` (N,), `groups` (N,), −1 for none.

    Covers every score that the logits allow: without ERM's, only `max_softmax`.
    """
    judged = score_inputs(logits, erm_logits)
    right = judged.labels == labels
    tables = SplitTables({}, {}, {})
    for name in SCORES if erm_logits is not None else SCORES[:1]:
        scored = judged.score(name)
        tables.scores[name] = CalibrationTable.build(scored.scores, right)
        tables.groups[name] = _parts(groups, group_names, scored, right)
        tables.classes[name] = _parts(labels, classes, scored, right)
    return tables


def _parts(
    of_sample: Counts, names: Sequence[str], scored: Scored, right: NDArray[np.bool_]
) -> dict[str, CalibrationTable]:
    """Tables per group or class: a certificate says nothing about either, so each has its own counts."""
    tables = {}
    for part in np.unique(of_sample[of_sample >= 0]).tolist():
        inside = of_sample == part
        tables[names[part]] = CalibrationTable.build(scored.scores[inside], right[inside])
    return tables
