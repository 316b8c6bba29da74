"""The subjects of each split, and those that the models know."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.data.importing.subject_notes import subject_word
from models.data.report import ColumnReading
from models.data.store import Store

_KNOWN = ("train", "val")
"""The splits that models were fitted to and chosen by."""


def split_subjects(store: Store) -> dict[str, int]:
    """Distinct subjects of each split; empty if none are named."""
    if not store.has_subjects:
        return {}
    return {split: len(_subjects(store, split)) for split in store.counts}


def shared_subjects(store: Store) -> dict[str, dict[str, int]]:
    """Split → `train` or `val` → subjects that both have; splits that share none are left out."""
    if not store.has_subjects:
        return {}
    shared: dict[str, dict[str, int]] = {}
    for split in store.counts:
        for known in _KNOWN if split not in _KNOWN else _KNOWN[: _KNOWN.index(split)]:
            if n := len(np.intersect1d(_subjects(store, split), _subjects(store, known))):
                shared.setdefault(split, {})[known] = n
    return shared


def word_for_subject(store: Store) -> str:
    """What the owner of the data set calls a subject."""
    return subject_word(ColumnReading(**column) for column in store.info.summary.get("columns", ()))


def _subjects(store: Store, split: str) -> NDArray[np.int64]:
    subjects = store.subjects[store.rows(split)]
    return np.unique(subjects[subjects >= 0])
