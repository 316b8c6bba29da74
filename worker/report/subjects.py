"""The subjects of each split, those that the models know, and the images that may not judge models, since
these were fitted to them or chosen by them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from masktune.contract.report.judged_job import LeftOut
from models.data.report import ColumnReading, subject_word
from models.data.store import Store

KNOWN = ("train", "val")
"""The splits that models were fitted to and chosen by."""
MOST_NAMES = 20


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
        for known in KNOWN if split not in KNOWN else KNOWN[: KNOWN.index(split)]:
            if n := len(np.intersect1d(_subjects(store, split), _subjects(store, known))):
                shared.setdefault(split, {})[known] = n
    return shared


def word_for_subject(store: Store) -> str:
    """What the owner of the data set calls a subject."""
    return subject_word(ColumnReading(**column) for column in store.info.summary.get("columns", ()))


def _subjects(store: Store, split: str) -> NDArray[np.int64]:
    subjects = store.subjects[store.rows(split)]
    return np.unique(subjects[subjects >= 0])


class KnownImages(NamedTuple):
    """The ascending `rows` of a data set that trained models, and the report's section on them."""

    rows: NDArray[np.int64]
    section: LeftOut


def known_images(store: Store, trained: Iterable[Store]) -> KnownImages:
    """The images of `store` that are in `KNOWN` splits of the others, by their files, with all of a subject
    that is there by its name, and all that are of one subject or picture with such an image."""
    same_image, names = np.zeros(len(store), dtype=bool), set[str]()
    for other in trained:
        used = np.concatenate([other.rows(split) for split in KNOWN])
        files = other.sha256.take(used).combine_chunks()
        same_image |= pc.is_in(store.sha256, value_set=files).to_numpy()
        codes = other.subjects[used]
        names |= {other.subject_names[code] for code in np.unique(codes[codes >= 0])}
    shared = np.array([*(name in names for name in store.subject_names), False])  # the last: no subject
    known = same_image | shared[store.subjects]
    clusters = store.clusters(np.arange(len(store)))
    known |= np.isin(clusters, clusters[known])
    rows = np.flatnonzero(known)
    subjects = np.unique(store.subjects[rows])
    section = LeftOut(
        images=len(rows),
        same_image=int(same_image.sum()),
        paths=store.paths.take(rows[:MOST_NAMES]).to_pylist(),
        subjects=[store.subject_names[code] for code in subjects[subjects >= 0][:MOST_NAMES]],
    )
    return KnownImages(rows, section)
