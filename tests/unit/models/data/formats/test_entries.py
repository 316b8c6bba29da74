"""Entries in columns are the same entries, in the order of the rows that are taken."""

from __future__ import annotations

import pickle
import sys

import numpy as np

from models.data.formats.entries import Entries
from models.data.formats.manifest import Entry

ENTRIES = (
    Entry("a/ä.png", 0, "train", 1, "p1", ("Berlin", "")),
    Entry("a/2.png", 1, "val", -1, None, ("", "7")),
    Entry("b/🙂.png", -1, None, 0, "p0", ("Ghent", "7")),
    Entry("b/4.png", 1, "train", 0, "p1", ("Berlin", "8")),
)


def test_they_are_the_same_one_by_one_and_in_another_process() -> None:
    entries = Entries.of(ENTRIES)
    assert Entries.of(entries) is entries
    sent = pickle.loads(pickle.dumps(entries))
    for some in (entries, sent):
        assert tuple(some) == ENTRIES
        assert (len(some), some[2], tuple(some[1:3])) == (4, ENTRIES[2], ENTRIES[1:3])
    assert list(Entries.of(())) == []


def test_rows_are_taken_with_the_texts_that_occur_in_them() -> None:
    part = Entries.of(ENTRIES).take(np.array([2, 3, 1]))
    assert tuple(part) == (ENTRIES[2], ENTRIES[3], ENTRIES[1])
    assert (part.subjects.values, part.subjects.codes.tolist()) == (("p0", "p1"), [0, 1, -1])
    assert part.splits.cells() == [None, "train", "val"]
    assert part.path(0) == "b/🙂.png"
    assert tuple(part.take(np.array([2]))) == (ENTRIES[1],)


def test_an_entry_takes_tens_of_bytes() -> None:
    entries = Entries.of([Entry(f"a/{number:08}.png", number % 2) for number in range(10_000)])
    sizes = map(sys.getsizeof, (entries.paths, entries.starts, entries.ends, entries.labels, entries.groups))
    assert sum(sizes) < 60 * 10_000
