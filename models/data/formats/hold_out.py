"""A test split of samples with certain metadata: of sites, for one, that no model has seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from models.data.formats.lists.headings import METADATA
from models.data.formats.manifest import Entry, FormatError, Manifest, natural_order
from models.data.report import ProblemCode, some_names

_MOST_NAMES = 10  # values of a column that a problem names


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
        raise _refusal(
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
        raise _refusal("no image is left to train on: hold out fewer")
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
        raise _refusal(str(error)) from error
    if name not in manifest.metadata_names:
        columns = ", ".join(METADATA + other for other in manifest.metadata_names) or "none"
        raise _refusal(f"there is no column meta:{name} to hold out by; there are: {columns}")
    column = manifest.metadata_names.index(name)
    values = {entry.metadata[column] for entry in manifest.entries}
    if text not in values:
        there = some_names(natural_order(values - {""}), _MOST_NAMES) or "none"
        raise _refusal(f"no image has {text!r} in the column meta:{name}; there are: {there}")


def _refusal(detail: str) -> FormatError:
    return FormatError(ProblemCode.HOLD_OUT, detail)
