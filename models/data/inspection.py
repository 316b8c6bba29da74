"""Inspect the accepted images as a whole: duplicates, leaks between splits, missing classes and splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.checks import CheckedImage
from models.data.formats import Entry, Manifest
from models.data.grey import TAIL, GreyWindow
from models.data.report import DuplicateSet, ImportReport, Note, NoteCode, Problem, ProblemCode
from models.data.splits import ALL_SPLITS, SPLITS, Assignment

_ENOUGH_TO_CUT = 4
"""Distinct images of a class: each of the three cuts takes at most one of them."""
_LIBRARY_SIDE = 224  # pixels: no image is scaled to more by default
_ENLARGED = 4  # times, from which on an image is visibly blurred


@dataclass(frozen=True)
class AcceptedImages:
    """The images that will be packed, in row order: their `numbers` in `manifest.entries`, without pixels."""

    manifest: Manifest
    numbers: list[int]
    images: list[CheckedImage]

    @cached_property
    def entries(self) -> list[Entry]:
        """The entry of each row."""
        return [self.manifest.entries[number] for number in self.numbers]

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,)"""
        return np.array([entry.label for entry in self.entries], dtype=np.int64)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """(N,), -1 for none."""
        return np.array([entry.group for entry in self.entries], dtype=np.int64)

    @cached_property
    def twins(self) -> NDArray[np.int64]:
        """(N,), equal where the pixels are equal."""
        numbers: dict[bytes, int] = {}
        return np.array(
            [numbers.setdefault(image.pixel_hash, len(numbers)) for image in self.images], dtype=np.int64
        )


def first_problems(accepted: AcceptedImages) -> tuple[Problem, ...]:
    """Problems that make splitting pointless: no image, one class, a given split without an image."""
    if not accepted.images:
        detail = "no image is usable: see the rejected files, or check the layout of the folders"
        return (Problem(ProblemCode.NO_IMAGES, detail),)
    classes = accepted.manifest.classes
    present = [classes[label] for label in np.unique(accepted.labels)]
    if len(present) < 2:
        detail = f"every image has the class {present[0]!r}: add images of a second class"
        return (Problem(ProblemCode.ONE_CLASS, detail),)
    filled = {entry.split for entry in accepted.entries}
    return tuple(
        Problem(
            ProblemCode.EMPTY_SPLIT,
            f"the given split {split} has no usable image: add some, or leave it out",
        )
        for split in accepted.manifest.splits
        if split not in filled
    )


def complete(report: ImportReport, accepted: AcceptedImages, assignment: Assignment) -> ImportReport:
    """The report with counts, duplicates, notes and the final state."""
    manifest = accepted.manifest
    splits = np.array([ALL_SPLITS.index(name) for name in assignment.splits])
    # (split, class) → images
    table = np.zeros((len(ALL_SPLITS), len(manifest.classes)), dtype=np.int64)
    np.add.at(table, (splits, accepted.labels), 1)
    cut = [split for split, how in assignment.record.made.items() if how.donor == "train"]
    problems = tuple(_late_problems(table, manifest.classes, cut))
    duplicates = tuple(_duplicates(accepted, assignment.splits))
    return replace(
        report,
        state="invalid" if problems else "ready",
        count=len(accepted.images),
        splits=_counts(accepted, splits),
        split_record=asdict(assignment.record),
        problems=problems,
        duplicates=duplicates,
        notes=(
            *_split_notes(assignment),
            *_class_notes(table, manifest),
            *_size_notes(accepted),
            *_duplicate_notes(duplicates),
        ),
    )


def with_window(report: ImportReport, accepted: AcceptedImages, window: GreyWindow | None) -> ImportReport:
    """The report with a note on how 16-bit grey images are seen, if there are any."""
    count = sum(image.grey_16 for image in accepted.images)
    if not count:
        return report
    if window is None:
        levels = "none of them is in train, where a window would be measured: their upper 8 bits are used"
    else:
        levels = (
            f"the levels {window.low} to {window.high} become 0 to 255, in training and in predictions; "
            f"{TAIL:.1%} of the pixels in train lie below at most, and as many above"
        )
    note = Note(NoteCode.GREY_WINDOW, f"images with 16-bit grey levels: {count}; {levels}")
    return replace(report, notes=(*report.notes, note))


def _late_problems(
    table: NDArray[np.int64], classes: tuple[str, ...], cut: Sequence[str]
) -> Iterator[Problem]:
    """`table` holds the images by (split, class); the splits `cut` were taken from `train`."""
    needed = table[: len(SPLITS)].sum(axis=1)
    for split, count in zip(SPLITS, needed, strict=True):
        if count == 0 and split == "train":
            yield Problem(
                ProblemCode.EMPTY_SPLIT, "there are no training images: add some, or leave out the splits"
            )
        elif count == 0:
            yield Problem(ProblemCode.EMPTY_SPLIT, f"too few images to fill the split {split}: add some")
    cut_counts = table[[ALL_SPLITS.index(split) for split in cut]].sum(axis=0)
    for name, count, gone in zip(classes, table[ALL_SPLITS.index("train")], cut_counts, strict=True):
        if count == 0 and gone:
            detail = (
                f"the class {name!r} has too few images: the splits that were cut took all {gone}, so that "
                f"none is left to train on; add some ({_ENOUGH_TO_CUT} are enough), or give each image its "
                "split"
            )
            yield Problem(ProblemCode.CLASS_NOT_IN_TRAIN, detail)
        elif count == 0:
            detail = (
                f"the class {name!r} has no usable training image: add some, or remove the class everywhere"
            )
            yield Problem(ProblemCode.CLASS_NOT_IN_TRAIN, detail)


def _counts(accepted: AcceptedImages, splits: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    return {
        split: {
            "count": int((splits == code).sum()),
            "classes": _tally(accepted.labels[splits == code], accepted.manifest.classes),
            "groups": _tally(accepted.groups[splits == code], accepted.manifest.group_names),
        }
        for code, split in enumerate(ALL_SPLITS)
        if split in SPLITS or (splits == code).any()
    }


def _tally(codes: NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    """{name: how often its number occurs in `codes`}; zeros are left out, -1 is ignored."""
    counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def _duplicates(accepted: AcceptedImages, splits: Sequence[str]) -> Iterator[DuplicateSet]:
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, image in enumerate(accepted.images):
        rows_of[image.pixel_hash].append(row)
    for rows in rows_of.values():
        if len(rows) > 1:
            entries = [accepted.entries[row] for row in rows]
            yield DuplicateSet(
                paths=tuple(entry.path for entry in entries),
                splits=tuple(splits[row] for row in rows),
                labels=tuple(accepted.manifest.classes[entry.label] for entry in entries),
                same_bytes=len({accepted.images[row].sha256 for row in rows}) == 1,
            )


def _split_notes(assignment: Assignment) -> Iterator[Note]:
    record = assignment.record
    if record.made:
        donors = {cut.donor: cut.donor if record.given else "the data set" for cut in record.made.values()}
        cuts = "; ".join(
            f"{split}: {cut.size} of the {cut.donor_size} images of {donors[cut.donor]}"
            for split, cut in record.made.items()
        )
        detail = f"cut by seed {record.seed}, stratified by {' and '.join(record.stratified_by)}: {cuts}"
        yield Note(NoteCode.SPLITS_MADE, detail)


def _class_notes(table: NDArray[np.int64], manifest: Manifest) -> Iterator[Note]:
    for split, counts in list(zip(ALL_SPLITS, table, strict=True))[1:]:
        missing = [name for name, count in zip(manifest.classes, counts, strict=True) if count == 0]
        if missing and (split in SPLITS or counts.any()):
            detail = f"{split} has no image of {_some(missing)}: its figures say nothing about them"
            yield Note(NoteCode.CLASS_NOT_IN_SPLIT, detail)
    if manifest.empty_classes:
        detail = f"there are no images of {_some(manifest.empty_classes)}, which is therefore not a class"
        yield Note(NoteCode.EMPTY_CLASS, detail)


def _size_notes(accepted: AcceptedImages) -> Iterator[Note]:
    """Small images among larger ones: all are scaled to one size."""
    sides = np.array([max(image.width, image.height) for image in accepted.images])
    side = min(int(np.median(sides)), _LIBRARY_SIDE)
    if few := int((sides * _ENLARGED <= side).sum()):
        detail = (
            f"{few} of {len(sides)} images are at most {side // _ENLARGED} pixels wide and high, while half "
            f"of all are {side} or more: scaled to one size they are blurred, which a network may take for a "
            "sign of their class; bring larger ones, or leave them out"
        )
        yield Note(NoteCode.SMALL_IMAGES, detail)


def _duplicate_notes(duplicates: Sequence[DuplicateSet]) -> Iterator[Note]:
    counts = Counter(code for duplicate in duplicates for code in duplicate.codes)
    sentences = {
        NoteCode.DUPLICATES: "pictures that occur more than once in a split: {}; all copies were kept",
        NoteCode.IN_TWO_SPLITS: f"pictures in more than one split: {{}}{_shared(duplicates)}",
        NoteCode.CONFLICTING_LABELS: "pictures with two labels: {}; at least one label of each is wrong",
    }
    for code, sentence in sentences.items():
        if counts[code]:
            yield Note(code, sentence.format(counts[code]))


def _shared(duplicates: Sequence[DuplicateSet]) -> str:
    """How many pictures each pair of splits has in common, what that spoils, and what to do."""
    in_order = (sorted(set(same.splits), key=ALL_SPLITS.index) for same in duplicates)
    pairs = Counter(pair for splits in in_order for pair in combinations(splits, 2))
    sizes = ", ".join(f"{count} in {' and '.join(pair)}" for pair, count in sorted(pairs.items(), key=_place))
    in_calibration = any(later == "calibration" for _, later in pairs)  # train and val come before it
    but = ", though no certificate counts them" if in_calibration else ""
    return (
        f" ({sizes}), so the figures of the later split are too good; all copies were kept{but}: "
        "remove them from one of the splits"
    )


def _place(counted: tuple[tuple[str, ...], int]) -> list[int]:
    return [ALL_SPLITS.index(split) for split in counted[0]]


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
