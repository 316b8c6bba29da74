"""What the owner decides about the entries of a manifest, and no format has to know of.

A test split of samples with certain metadata: of sites, for one, that no model has seen. Groups from a
column of metadata: class × value, like the class × place of Waterbirds. Subjects named by the path of an
image: `*/{subject}_*` makes `p07` the subject of `cat/p07_3.png`. And the splits that files name, left out
so that the import cuts its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from models.data.columns import as_numbers
from models.data.formats.lists.headings import METADATA
from models.data.formats.manifest import (
    DatasetFormat,
    Entry,
    FormatError,
    FormatOptions,
    Manifest,
    natural_order,
)
from models.data.report import ProblemCode, some_names
from models.data.splits import WITHOUT_OBJECT

_MOST_NAMES = 10  # values of a column that a problem names
MAX_VALUES = 100  # more are rather names than groups
SUBJECT = "{subject}"
_FOLDERS = "**/"
_EXAMPLES = 3  # paths that a problem names
_WILDCARDS = re.compile(r"(\{subject\}|\*)")
_REGEXES = {"*": "[^/]*?", SUBJECT: "(?P<subject>[^/]+?)"}


def with_options(manifest: Manifest, options: FormatOptions) -> Manifest:
    """The manifest with what the owner decided and no format has to know of."""
    # The groups of CelebA are an attribute's.
    if options.group is not None and manifest.format != DatasetFormat.CELEBA:
        manifest = grouped_by_metadata(manifest, options.group)
    if options.new_splits:
        manifest = _without_splits(manifest)
    if options.subject is not None:
        manifest = name_subjects(manifest, options.subject)
    if options.split is not None:
        entries = tuple(entry._replace(split=options.split) for entry in manifest.entries)
        manifest = replace(manifest, entries=entries, splits=(options.split,))
    if options.hold_out:
        manifest = hold_out(manifest, options.hold_out)
    return manifest


def _without_splits(manifest: Manifest) -> Manifest:
    """The manifest as if no split had been named. Raises `FormatError` where images lost their object."""
    if lost := set(WITHOUT_OBJECT).intersection(manifest.splits):
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"the images of {', '.join(sorted(lost))} lost their object and belong to no other split: leave "
            "out new_splits",
        )
    return replace(
        manifest,
        entries=tuple(entry._replace(split=None) for entry in manifest.entries),
        splits=(),
        columns=tuple(
            reading._replace(read_as="ignored", detail="new splits were asked for")
            if reading.read_as == "split"
            else reading
            for reading in manifest.columns
        ),
    )


class Condition(NamedTuple):
    """A cell that makes a sample one of the test split: `text` in the column `meta:NAME`."""

    name: str
    text: str

    @classmethod
    def parse(cls, condition: str) -> Condition:
        """From `meta:NAME=VALUE`. Raises ValueError."""
        name, equals, text = condition.removeprefix(METADATA).partition("=")
        if not condition.startswith(METADATA) or not name or not equals or not text:
            raise ValueError(f"{condition!r} does not say what to hold out: write meta:NAME=VALUE")
        return cls(name, text)


def hold_out(manifest: Manifest, conditions: Sequence[str]) -> Manifest:
    """The manifest with a test split of the entries that meet any of these conditions, `meta:NAME=VALUE`, and
    of all others of their subjects. Raises `FormatError` where it cannot be made."""
    if "test" in manifest.splits or any(entry.split == "test" for entry in manifest.entries):
        raise _no_hold_out(
            "the data set has a test split already: ask for new splits (new_splits), or leave out hold_out"
        )
    for condition in conditions:
        _require_met(condition, manifest)
    held_out = set(meeting(manifest.entries, conditions, manifest.metadata_names))
    entries = whole_in_test(
        entry._replace(split="test" if number in held_out else entry.split or "train")
        for number, entry in enumerate(manifest.entries)
    )
    before, after = ({entry.split for entry in some} for some in (manifest.entries, entries))
    if "train" not in after:
        raise _no_hold_out("no image is left to train on: hold out fewer")
    emptied = before - after  # they are made anew
    splits = (*(split for split in manifest.splits or ("train",) if split not in emptied), "test")
    return replace(manifest, entries=tuple(entries), splits=splits, hold_out=tuple(conditions))


def whole_in_test(entries: Iterable[Entry]) -> list[Entry]:
    """The entries, those of subjects that have one in test all in test."""
    entries = list(entries)
    subjects = {entry.subject for entry in entries if entry.split == "test"} - {None}
    return [entry._replace(split="test") if entry.subject in subjects else entry for entry in entries]


def meeting(entries: Sequence[Entry], conditions: Sequence[str], names: Sequence[str]) -> list[int]:
    """The numbers of the entries that meet any of the conditions; `names` are those of their metadata."""
    columns = [(names.index(name), text) for name, text in map(Condition.parse, conditions)]
    return [
        number
        for number, entry in enumerate(entries)
        if any(entry.metadata[column] == text for column, text in columns)
    ]


def _require_met(condition: str, manifest: Manifest) -> None:
    try:
        name, text = Condition.parse(condition)
    except ValueError as error:
        raise _no_hold_out(str(error)) from error
    if name not in manifest.metadata_names:
        columns = ", ".join(METADATA + other for other in manifest.metadata_names) or "none"
        raise _no_hold_out(f"there is no column meta:{name} to hold out by; there are: {columns}")
    column = manifest.metadata_names.index(name)
    values = {entry.metadata[column] for entry in manifest.entries}
    if text not in values:
        there = some_names(natural_order(values - {""}), _MOST_NAMES) or "none"
        raise _no_hold_out(f"no image has {text!r} in the column meta:{name}; there are: {there}")


def _no_hold_out(detail: str) -> FormatError:
    return FormatError(ProblemCode.HOLD_OUT, detail)


def grouped_by_metadata(manifest: Manifest, group: str) -> Manifest:
    """The manifest with the groups class × value of the column of text `group`, like `meta:scanner`, in place
    of any others. A sample whose cell is empty has none. Raises `FormatError`."""
    cells = _cells(manifest, group)
    values = natural_order(cell for cell in cells if cell)
    if not values:
        raise _no_groups(group, "all its cells are empty")
    if as_numbers(cells) is not None:
        raise _no_groups(
            group, "its cells are numbers: write them as text, for example “site 1” instead of 1"
        )
    if len(values) > MAX_VALUES:
        raise _no_groups(group, f"it has {len(values)} different values, more than {MAX_VALUES}")
    name, place_of = group.removeprefix(METADATA), {value: place for place, value in enumerate(values)}
    pairs = [
        (entry.label, place_of[cell]) if cell else None
        for entry, cell in zip(manifest.entries, cells, strict=True)
    ]
    present = sorted({pair for pair in pairs if pair is not None})
    number_of = {pair: number for number, pair in enumerate(present)}
    return replace(
        manifest,
        entries=tuple(
            entry._replace(group=-1 if pair is None else number_of[pair])
            for entry, pair in zip(manifest.entries, pairs, strict=True)
        ),
        group_names=tuple(f"{manifest.classes[label]} · {name} {values[value]}" for label, value in present),
        columns=tuple(
            reading._replace(read_as="ignored", detail=f"the groups are class × {group}")
            if reading.read_as == "group"
            else reading
            for reading in manifest.columns
        ),
    )


def _cells(manifest: Manifest, group: str) -> list[str]:
    names = [METADATA + name for name in manifest.metadata_names]
    if group not in names:
        advice = f"use one of {', '.join(names)}" if names else "there is no column of metadata"
        raise FormatError(
            ProblemCode.UNKNOWN_ATTRIBUTE, f"there is no column {group!r} to make groups of: {advice}"
        )
    place = names.index(group)
    return [entry.metadata[place] for entry in manifest.entries]


def _no_groups(group: str, reason: str) -> FormatError:
    return FormatError(ProblemCode.UNKNOWN_ATTRIBUTE, f"{group} cannot be the groups: {reason}")


class SubjectPattern:
    """A pattern on whole paths: `*` is any text without a slash, `**/` any folders, and `{subject}` at least
    one character without a slash, as few as match. Raises ValueError if it cannot be used.

    A path is matched in time linear in its length. Within a folder or file name, the first place of a text
    that follows a wildcard is final (an atomic group), but for the last text, and `**/` may occur once.
    """

    def __init__(self, pattern: str) -> None:
        if (count := pattern.count(SUBJECT)) != 1:
            raise ValueError(f"the pattern {pattern!r} has {SUBJECT} {count} times: write it once")
        if f"*{SUBJECT}" in pattern or f"{SUBJECT}*" in pattern:
            raise ValueError(f"in the pattern {pattern!r}, some text must stand between * and {SUBJECT}")
        before, folders, behind = pattern.partition(_FOLDERS)
        if (folders and before and not before.endswith("/")) or "**" in before + behind:
            raise ValueError(f"the pattern {pattern!r} may have ** once, as a folder of its own: **/")
        regex = "/".join(map(_segment, before.split("/"))) + (r"(?:[^/]+/)*?" if folders else "")
        self._regex = re.compile(regex + "/".join(map(_segment, behind.split("/"))))

    def subject(self, path: str) -> str | None:
        """The subject that the path names, or None if the path does not match."""
        match = self._regex.fullmatch(path)
        return None if match is None else match["subject"]


def name_subjects(manifest: Manifest, pattern: str) -> Manifest:
    """The manifest with the subjects that the paths name.
    Raises `FormatError` if none does, if the pattern cannot be used, or if a list names the subjects."""
    if any(entry.subject is not None for entry in manifest.entries):
        raise _no_subjects("the list has a column of subjects, so leave out the pattern (the option subject)")
    try:
        of = SubjectPattern(pattern).subject
    except ValueError as error:
        raise _no_subjects(str(error)) from error
    entries = tuple(entry._replace(subject=of(entry.path)) for entry in manifest.entries)
    if all(entry.subject is None for entry in entries):
        raise _no_subjects(
            f"the pattern {pattern!r} matches the path of no image; the first are {_examples(entries)}"
        )
    return replace(manifest, entries=entries)


def _segment(text: str) -> str:
    """The regular expression of the part of a pattern between two slashes."""
    first, *others = _WILDCARDS.split(text)
    expression = re.escape(first)
    for index, (wildcard, literal) in enumerate(zip(others[::2], others[1::2], strict=True), start=1):
        part = _REGEXES[wildcard] + re.escape(literal)
        expression += part if 2 * index == len(others) else f"(?>{part})"
    return expression


def _examples(entries: Sequence[Entry]) -> str:
    return ", ".join(repr(entry.path) for entry in entries[:_EXAMPLES])


def _no_subjects(detail: str) -> FormatError:
    return FormatError(ProblemCode.SUBJECT_PATTERN, detail)
