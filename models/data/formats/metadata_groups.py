"""Groups from a column of metadata: class × value, like the class × place of Waterbirds."""

from __future__ import annotations

from dataclasses import replace

from models.data.columns import as_numbers
from models.data.formats.lists.headings import METADATA
from models.data.formats.manifest import FormatError, Manifest, natural_order
from models.data.report import ProblemCode

MAX_VALUES = 100  # more are rather names than groups


def grouped_by_metadata(manifest: Manifest, group: str) -> Manifest:
    """The manifest with the groups class × value of the column of text `group`, like `meta:scanner`, in place
    of any others. A sample whose cell is empty has none. Raises `FormatError`."""
    cells = _cells(manifest, group)
    values = natural_order(cell for cell in cells if cell)
    if not values:
        raise _refusal(group, "all its cells are empty")
    if as_numbers(cells) is not None:
        raise _refusal(group, "its cells are numbers: write them as text, for example “site 1” instead of 1")
    if len(values) > MAX_VALUES:
        raise _refusal(group, f"it has {len(values)} different values, more than {MAX_VALUES}")
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


def _refusal(group: str, reason: str) -> FormatError:
    return FormatError(ProblemCode.UNKNOWN_ATTRIBUTE, f"{group} cannot be the groups: {reason}")
