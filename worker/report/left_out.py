"""Images that may not judge models, since these were fitted to them or chosen by them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from masktune.contract.report.judged_job import LeftOut
from models.data.store import Store

KNOWN = ("train", "val")
"""The splits that models were fitted to and chosen by."""
MOST_NAMES = 20


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
