"""Inspect the accepted images as a whole: duplicates, leaks between splits, missing classes and splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.data.formats import Manifest
from models.data.formats.owner_options import meeting
from models.data.grey import WindowChoice
from models.data.importing.accepted_images import AcceptedImages
from models.data.report import (
    SUBJECT,
    DuplicateSet,
    ImportReport,
    Note,
    NoteCode,
    Problem,
    ProblemCode,
    some_names,
    subject_word,
)
from models.data.splits import ALL_SPLITS, NO_SPLIT, SPLITS, Assignment, SplitRecord, only_test, overlap

_ENOUGH_TO_CUT = 4
"""Distinct images of a class: each of the three cuts takes at most one of them."""
_LIBRARY_SIDE = 224  # pixels: no image is scaled to more by default
NOTHING_USABLE = Problem(
    ProblemCode.NO_IMAGES, "no image is usable: see the rejected files, or check the layout of the folders"
)
_ENLARGED = 4  # times, from which on an image is visibly blurred


def first_problems(accepted: AcceptedImages) -> tuple[Problem, ...]:
    """Problems that make splitting pointless: no image; with labels, one class or a given split without an
    image."""
    if not len(accepted):
        return (NOTHING_USABLE,)
    if not accepted.manifest.labelled:
        return ()
    classes = accepted.manifest.classes
    present = [classes[label] for label in np.unique(accepted.entries.labels)]
    splits = accepted.entries.splits.values
    if len(present) < 2 and not only_test(splits):
        return (
            Problem(
                ProblemCode.ONE_CLASS,
                f"every image has the class {present[0]!r}: add images of a second class, or choose the "
                "format unlabelled for images without labels",
            ),
        )
    return tuple(
        Problem(
            ProblemCode.EMPTY_SPLIT,
            f"the given split {split} has no usable image: add some, or leave it out",
        )
        for split in accepted.manifest.splits
        if split not in splits
    )


def complete(report: ImportReport, accepted: AcceptedImages, assignment: Assignment) -> ImportReport:
    """The report with counts, duplicates, notes and the final state."""
    manifest, entries = accepted.manifest, accepted.entries
    splits = np.array([ALL_SPLITS.index(name) for name in assignment.splits])
    # (split, class) → images
    table = np.zeros((len(ALL_SPLITS), len(manifest.classes)), dtype=np.int64)
    np.add.at(table, (splits, entries.labels), 1)
    cut = [split for split, how in assignment.record.made.items() if how.donor == "train"]
    record = replace(assignment.record, hold_out=manifest.hold_out)
    problems: tuple[Problem, ...] = ()
    if not only_test(assignment.splits):
        problems = tuple(_late_problems(table, manifest.classes, cut, whole_subjects=record.whole_subjects))
    duplicates, word = tuple(_duplicates(accepted, assignment.splits)), subject_word(accepted.columns)
    notes = (
        *_hold_out_notes(accepted, splits, word),
        *_split_notes(record, word),
        *_class_notes(table, manifest),
        *_size_notes(accepted),
        *_ignored_notes(manifest),
        *_duplicate_notes(duplicates),
        *subject_notes(
            entries.subjects.codes,
            entries.subjects.values,
            labels=entries.labels,
            splits=splits,
            record=record,
            word=word,
        ),
    )
    return replace(
        report,
        state="invalid" if problems else "ready",
        count=len(accepted),
        subjects=len(entries.subjects.values),
        splits=_counts(accepted, splits),
        split_record=asdict(record),
        problems=problems,
        columns=accepted.columns,
        duplicates=duplicates,
        notes=tuple(sorted(notes, key=lambda note: note.tone != "bad")),
    )


def complete_unlabelled(report: ImportReport, accepted: AcceptedImages) -> ImportReport:
    """The same for images without labels, of which one suffices: they are in no split."""
    duplicates = tuple(_duplicates(accepted, [NO_SPLIT] * len(accepted)))
    copies = Note(
        NoteCode.DUPLICATES, f"pictures that occur more than once: {len(duplicates)}; all copies were kept"
    )
    return replace(
        report,
        state="ready",
        count=len(accepted),
        subjects=len(accepted.entries.subjects.values),
        columns=accepted.columns,
        duplicates=duplicates,
        notes=(*_ignored_notes(accepted.manifest), *([copies] if duplicates else [])),
    )


def with_window(report: ImportReport, accepted: AcceptedImages, choice: WindowChoice | None) -> ImportReport:
    """The report with a note on how 16-bit grey images are seen, if anything was to be chosen."""
    if choice is None:
        return report
    count = int(accepted.facts["grey_16"].sum())
    levels = choice.reason
    if choice.window is not None:
        low, high = choice.window
        use = "in training and in predictions" if accepted.manifest.labelled else "where they are displayed"
        levels = f"the levels {low} to {high} become 0 to 255, {use}: {levels}"
    note = Note(NoteCode.GREY_WINDOW, f"images with 16-bit grey levels: {count}; {levels}")
    return replace(report, notes=(*report.notes, note))


def _late_problems(
    table: NDArray[np.int64], classes: tuple[str, ...], cut: Sequence[str], *, whole_subjects: bool
) -> Iterator[Problem]:
    """`table` holds the images by (split, class); the splits `cut` were taken from `train`."""
    needed = table[: len(SPLITS)].sum(axis=1)
    for split, count in zip(SPLITS, needed, strict=True):
        if count == 0 and split == "train":
            yield Problem(
                ProblemCode.EMPTY_SPLIT, "there are no training images: add some, or leave out the splits"
            )
        elif count == 0 and whole_subjects:
            yield Problem(
                ProblemCode.EMPTY_SPLIT,
                f"too few subjects to fill the split {split}: each stays whole in one split, and train keeps "
                "one of each class; add images of others, or give each image its split",
            )
        elif count == 0:
            yield Problem(ProblemCode.EMPTY_SPLIT, f"too few images to fill the split {split}: add some")
    cut_counts = table[[ALL_SPLITS.index(split) for split in cut]].sum(axis=0)
    for name, count, gone in zip(classes, table[ALL_SPLITS.index("train")], cut_counts, strict=True):
        if count == 0 and gone:
            yield Problem(
                ProblemCode.CLASS_NOT_IN_TRAIN,
                f"the class {name!r} has too few images: the splits that were cut took all {gone}, so that "
                f"none is left to train on; add some ({_ENOUGH_TO_CUT} are enough), or give each image its "
                "split",
            )
        elif count == 0:
            yield Problem(
                ProblemCode.CLASS_NOT_IN_TRAIN,
                f"the class {name!r} has no usable training image: add some, or remove the class everywhere",
            )


def _counts(accepted: AcceptedImages, splits: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    entries = accepted.entries
    subjects = entries.subjects.codes
    return {
        split: {
            "count": int((splits == code).sum()),
            "classes": _tally(entries.labels[splits == code], accepted.manifest.classes),
            "groups": _tally(entries.groups[splits == code], accepted.manifest.group_names),
            "subjects": len(np.unique(subjects[(splits == code) & (subjects >= 0)])),
        }
        for code, split in enumerate(ALL_SPLITS)
        if split in SPLITS or (splits == code).any()
    }


def _tally(codes: NDArray[np.int32], names: Sequence[str]) -> dict[str, int]:
    """{name: how often its number occurs in `codes`}; zeros are left out, -1 is ignored."""
    counts = np.bincount(codes[codes >= 0], minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def _duplicates(accepted: AcceptedImages, splits: Sequence[str]) -> Iterator[DuplicateSet]:
    """An image without a label has an empty one."""
    twins = accepted.twins
    by_picture = np.argsort(twins, kind="stable")
    ends = np.cumsum(np.bincount(twins))
    for number in np.flatnonzero(np.bincount(twins) > 1).tolist():
        rows = by_picture[ends[number - 1] if number else 0 : ends[number]]
        entries = [accepted.entries[row] for row in rows.tolist()]
        yield DuplicateSet(
            paths=tuple(entry.path for entry in entries),
            splits=tuple(splits[row] for row in rows.tolist()),
            labels=tuple((*accepted.manifest.classes, "")[entry.label] for entry in entries),
            same_bytes=len(set(accepted.facts["sha256"][rows].tolist())) == 1,
        )


def _hold_out_notes(accepted: AcceptedImages, splits: NDArray[np.int64], word: str) -> Iterator[Note]:
    manifest = accepted.manifest
    if not manifest.hold_out:
        return
    in_test = int((splits == ALL_SPLITS.index("test")).sum())
    held_out = len(meeting(accepted.entries, manifest.hold_out, manifest.metadata_names))
    detail = f"test holds out {' or '.join(manifest.hold_out)}: {held_out} images"
    if in_test > held_out:
        detail += f", and {in_test - held_out} more of the same {word}s"
    yield Note(NoteCode.HOLD_OUT, detail)


def _split_notes(record: SplitRecord, word: str) -> Iterator[Note]:
    if only_test(record.given):
        yield Note(
            NoteCode.ONLY_TEST,
            "all images are test images: nothing is trained on them, but the models of a job are judged",
        )
    if record.made:
        cuts = defaultdict[str, list[str]](list)
        for split, cut in record.made.items():
            donor = cut.donor if record.given else "the data set"
            cuts[f"of the {cut.donor_size} images of {donor}"].append(f"{split} {cut.size}")
        by = " and ".join(record.stratified_by)
        whole = f", and no {word} is divided" if record.whole_subjects else ""
        sizes = "; ".join(f"{', '.join(splits)} {donor}" for donor, splits in cuts.items())
        yield Note(
            NoteCode.SPLITS_MADE,
            f"chosen at random (seed {record.seed}), so that each {by} has its share{whole}: {sizes}",
        )


def _class_notes(table: NDArray[np.int64], manifest: Manifest) -> Iterator[Note]:
    for split, counts in list(zip(ALL_SPLITS, table, strict=True))[1:]:
        missing = [name for name, count in zip(manifest.classes, counts, strict=True) if count == 0]
        if missing and counts.any():
            yield Note(
                NoteCode.CLASS_NOT_IN_SPLIT,
                f"{split} has no image of {some_names(missing)}: its figures say nothing about them",
            )
    if manifest.empty_classes:
        yield Note(
            NoteCode.EMPTY_CLASS,
            f"there are no images of {some_names(manifest.empty_classes)}, which is therefore not a class",
        )


def _size_notes(accepted: AcceptedImages) -> Iterator[Note]:
    """Small images among larger ones: all are scaled to one size."""
    sides = np.maximum(accepted.facts["width"], accepted.facts["height"])
    side = min(int(np.median(sides)), _LIBRARY_SIDE)
    if few := int((sides * _ENLARGED <= side).sum()):
        yield Note(
            NoteCode.SMALL_IMAGES,
            f"{few} of {len(sides)} images are at most {side // _ENLARGED} pixels wide and high, while half "
            f"of all are {side} or more: scaled to one size they are blurred, which a network may take for a "
            "sign of their class; bring larger ones, or leave them out",
        )


def _ignored_notes(manifest: Manifest) -> Iterator[Note]:
    if paths := [rejection.path for rejection in manifest.ignored]:
        files = "1 file was" if len(paths) == 1 else f"{len(paths)} files were"
        yield Note(
            NoteCode.FILES_NOT_USED,
            f"{files} not used: no list names them, or the format has no use for them: {some_names(paths)}",
        )


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
    return f"{overlap(pairs)}; all copies were kept: remove them from one of the splits"


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
