"""A split counted by score, by group and by class: each part has its own samples and no others."""

from __future__ import annotations

import numpy as np
import pytest

from models.selective import SCORES, CalibrationTable, SplitTables, count_split, decide, score
from models.types import Counts, Floats

CLASSES, GROUPS = ("cat", "dog", "owl"), ("day", "night", "nobody's")


def split() -> tuple[Floats, Floats, Counts, Counts]:
    """Logits of a pair, labels and groups (−1: none) of 60 samples. No owl is in it, and nobody's sample."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 60)
    logits, erm = (rng.normal(size=(60, 3)) + 2 * np.eye(3)[labels] for _ in range(2))
    return logits, erm, labels, rng.integers(-1, 2, 60)


def counted(erm: Floats | None, **changes: Counts) -> SplitTables:
    logits, _, labels, groups = split()
    columns = {"labels": labels, "groups": groups} | changes
    return count_split(
        logits, erm, columns["labels"], classes=CLASSES, groups=columns["groups"], group_names=GROUPS
    )


@pytest.mark.parametrize("name", SCORES)
def test_a_part_counts_what_would_be_answered_of_it(name: str) -> None:
    logits, erm, labels, groups = split()
    scored = score(name, logits, erm)  # type: ignore[arg-type]  # a literal, out of a tuple
    right = scored.labels == labels
    found = counted(erm)
    assert set(found.groups[name]) == {"day", "night"}
    assert set(found.classes[name]) == {"cat", "dog"}
    parts: list[tuple[CalibrationTable, Counts]] = [(found.scores[name], np.arange(60))]
    parts += [(found.groups[name][GROUPS[n]], np.flatnonzero(groups == n)) for n in (0, 1)]
    parts += [(found.classes[name][CLASSES[n]], np.flatnonzero(labels == n)) for n in (0, 1)]
    for table, rows in parts:
        assert table.n == len(rows)
        for threshold in (-10.0, -1.0, -0.5, -0.1):
            answered = decide(scored.scores[rows], threshold)
            assert table.at(threshold) == (answered.sum(), (answered & ~right[rows]).sum())


def test_the_groups_need_not_hold_every_sample_and_the_classes_do() -> None:
    found, (_, _, _, groups) = counted(split()[1]), split()
    assert sum(table.n for table in found.classes["product"].values()) == 60
    assert sum(table.n for table in found.groups["product"].values()) == (groups >= 0).sum() < 60
    assert counted(None, groups=np.full(60, -1)).groups == {"max_softmax": {}}


def test_without_erm_there_is_the_models_own_score_alone() -> None:
    alone, both = counted(None), counted(split()[1])
    assert set(alone.scores) == set(alone.groups) == set(alone.classes) == {"max_softmax"}
    assert set(both.scores) == set(both.groups) == set(both.classes) == set(SCORES)
    assert alone.scores["max_softmax"].id == both.scores["max_softmax"].id
    assert len({table.id for table in both.scores.values()}) == len(SCORES)
