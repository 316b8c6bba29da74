"""What an import report says about subjects: what is not as the statistics need it, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.report import SUBJECT, Note, NoteCode, some_names
from models.data.splits import ALL_SPLITS, SplitRecord, overlap

_UNEVEN = 2  # times a split is larger or smaller than aimed at, from which on that is told


def subject_notes(
    subjects: NDArray[np.integer[Any]],
    names: Sequence[str],
    *,
    labels: NDArray[np.integer[Any]],
    splits: NDArray[np.int64],
    record: SplitRecord,
    word: str = SUBJECT,
) -> Iterator[Note]:
    """Notes on the subjects (N,) of images, numbers in `names`, -1 for none; `splits` (N,) are codes and
    `word` is what the owner calls a subject."""
    if not names:
        return
    with_subject = subjects >= 0
    if missing := int((~with_subject).sum()):
        yield Note(
            NoteCode.WITHOUT_SUBJECT,
            f"images without a {word}: {missing} of {len(subjects)}; each counts as a {word} of its own",
        )
    of_class = np.unique(np.stack([subjects, labels])[:, with_subject], axis=1)  # each pair once
    if len(several := np.flatnonzero(np.bincount(of_class[0]) > 1)):
        yield Note(
            NoteCode.SUBJECT_IN_TWO_CLASSES,
            f"{word}s with images of more than one class: {_some(several, names)}; that is allowed, and "
            f"wrong only if a {word} can have no more than one",
        )
    in_split = np.zeros((len(names), len(ALL_SPLITS)), dtype=bool)
    in_split[subjects[with_subject], splits[with_subject]] = True
    if len(cut := np.flatnonzero(in_split.sum(axis=1) > 1)):
        common = {
            pair: int(in_split[:, pair].all(axis=1).sum()) for pair in combinations(range(len(ALL_SPLITS)), 2)
        }
        pairs = {(ALL_SPLITS[first], ALL_SPLITS[later]): n for (first, later), n in common.items() if n}
        yield Note(
            NoteCode.SUBJECT_IN_TWO_SPLITS,
            f"{word}s in more than one split: {_some(cut, names)}{overlap(pairs)}: read the data set again "
            f"with new splits (--new-splits), which divide no {word}, or give each {word} one split",
            "bad",
        )
    yield from _uneven(subjects[with_subject], names, record, word)


def _uneven(
    subjects: NDArray[np.integer[Any]], names: Sequence[str], record: SplitRecord, word: str
) -> Iterator[Note]:
    aims = {split: cut.fraction * cut.donor_size for split, cut in record.made.items()}
    sizes = ", ".join(
        f"{split} has {cut.size} images instead of {aims[split]:.0f}"
        for split, cut in record.made.items()
        if not aims[split] / _UNEVEN <= cut.size <= aims[split] * _UNEVEN
    )
    if sizes and record.whole_subjects:
        counts = np.bincount(subjects)
        largest = int(counts.argmax())
        yield Note(
            NoteCode.UNEVEN_SPLITS,
            f"{word}s stay whole, so {sizes}; {names[largest]!r} alone has {counts[largest]} images: "
            f"add images of more {word}s",
        )


def _some(numbers: NDArray[np.int64], names: Sequence[str]) -> str:
    """How many of all subjects these are, and the first by name."""
    return f"{len(numbers)} of {len(names)}, {some_names([names[number] for number in numbers])}"
