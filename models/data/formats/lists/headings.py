"""Which column of a list serves as what, by the names that people give their columns; and which further ones
say something of groups of images, or only tell images apart.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from models.data.archives.guards import FORBIDDEN, quoted
from models.data.columns import as_numbers
from models.data.formats.manifest import FormatError
from models.data.report import ColumnReading, ColumnUse, ProblemCode

METADATA = "meta:"
MAX_METADATA = 100
MAX_TEXT = 1000  # characters of a cell of metadata, which are shown
_MAX_NAME = 100  # characters
_MANY = 100
"""From so many different texts on, a column must repeat most of them to sort images."""
_FEW = 20
"""From so many rows on, it is no chance that all texts of a column differ or its numbers count the rows."""

# As `_plain` writes them: lower case, no spaces, no underscores. The first of a use wins over the others.
_NAMES: Mapping[ColumnUse, tuple[str, ...]] = {
    "path": (
        "path",
        *("file", "filename", "filepath", "image", "imagename", "imagefile", "imagefilename", "imagepath"),
        *("img", "imgname", "imgfile", "imgfilename", "imgpath", "relativepath"),
    ),
    "label": (
        *("label", "labels", "labelname", "class", "classname", "category", "target", "diagnosis", "species"),
    ),
    "split": ("split", "set", "subset", "partition", "fold"),
    "group": ("group",),
    "subject": (
        *("subject", "subjectid", "patient", "patientid", "animal", "animalid", "individual", "individualid"),
        *("slide", "slideid", "case", "caseid", "burst", "burstid"),
    ),
}


@dataclass(frozen=True)
class Headings:
    """The positions of the columns that are used, `path` always among them, and what is said about each."""

    places: Mapping[ColumnUse, int]
    metadata: Mapping[str, int]
    readings: tuple[ColumnReading, ...]

    @property
    def names_of_metadata(self) -> tuple[str | None, ...]:
        """Per column, the name of its metadata, None for other columns."""
        names = {place: name for name, place in self.metadata.items()}
        return tuple(names.get(place) for place in range(len(self.readings)))


def is_called(column: str, use: ColumnUse) -> bool:
    """Whether a column of this name can serve as that."""
    return _plain(column) in _NAMES[use]


def is_prefixed(column: str) -> bool:
    """Whether its name says that it is metadata, whatever it is called otherwise."""
    return column[: len(METADATA)].casefold() == METADATA


def position_of(header: Sequence[str], column: str, taken: Collection[int] = ()) -> int | None:
    """Where the column lies that somebody names, None where there is none: by its exact name, else freely.
    Those at `taken` serve as something else."""
    places = [p for p, name in enumerate(header) if _plain(name) == _plain(column) and p not in taken]
    return next((place for place in places if header[place] == column), places[0] if places else None)


def read_headings(
    header: Sequence[str], *, name: str, label: str | None, path: str | None = None
) -> Headings:
    """Of the list `name`; `label` and `path` are the columns of classes and files, where they are chosen.

    Metadata are the columns that serve as nothing else; the prefix `meta:` makes one of any. Raises
    `FormatError` where no column has the paths, and where several could be the same.
    """
    places: dict[ColumnUse, int] = {}
    readings: list[ColumnReading] = []
    chosen_columns: dict[ColumnUse, str | None] = {"path": path, "label": label}
    for use, column in chosen_columns.items():
        if column is not None:
            places[use] = _chosen_position(header, use, column, name, places.values())
    for use in _NAMES:
        if use not in places and (place := _place(header, use, name, places.values())) is not None:
            places[use] = place
    if "path" not in places:
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"{name} has {columns_of(header)}, none of which names the files: rename the right one to "
            "path, or name it in options.path",
        )
    metadata: dict[str, int] = {}
    uses = {place: use for use, place in places.items()}
    for place, column in enumerate(header):
        if place in uses:
            readings.append(ColumnReading(display_name(column), uses[place]))
            continue
        metadata_name = column[len(METADATA) :].strip() if is_prefixed(column) else column.strip()
        if reason := _ignored(column, metadata_name, metadata, places):
            readings.append(ColumnReading(display_name(column), "ignored", reason))
        else:
            metadata[metadata_name] = place
            readings.append(ColumnReading(display_name(column), "metadata"))
    return Headings(places, metadata, tuple(readings))


def columns_of(header: Sequence[str], most: int = 20) -> str:
    """The names of the columns, for a message."""
    names = ", ".join(repr(display_name(column)) for column in header[:most])
    more = f" and {len(header) - most} more" if len(header) > most else ""
    return f"the columns {names}{more}" if len(header) > 1 else f"the column {names}"


def display_name(column: str) -> str:
    """A name of a column, fit to be shown."""
    return quoted(column) if FORBIDDEN.search(column) else column[:_MAX_NAME]


def _plain(column: str) -> str:
    return re.sub(r"[\s_.-]+", "", column).casefold()


def _chosen_position(
    header: Sequence[str], use: ColumnUse, column: str, name: str, taken: Collection[int]
) -> int:
    place = position_of(header, column, taken)
    if place is None:
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"options.{use} is {column!r}, but {name} has {columns_of(header)}: choose one of them",
        )
    return place


def _place(header: Sequence[str], use: ColumnUse, name: str, taken: Collection[int]) -> int | None:
    candidates = [p for p, column in enumerate(header) if is_called(column, use) and p not in taken]
    candidates = [place for place in candidates if _plain(header[place]) == _NAMES[use][0]] or candidates
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    columns = " and ".join(repr(display_name(header[place])) for place in candidates)
    correction = f"rename the right one to {use}"
    if use in ("path", "label"):
        correction = f"name the right one in options.{use}"
    else:
        correction += f", and the other to {METADATA}NAME"
    raise FormatError(
        ProblemCode.AMBIGUOUS_LIST, f"{columns} of {name} could each be the {use}: {correction}"
    )


def _ignored(
    column: str, metadata_name: str, metadata: Mapping[str, int], places: Mapping[ColumnUse, int]
) -> str:
    """Why the column is left out, and what would make it count; empty where it is metadata."""
    if not metadata_name:
        return f"has no name: call it {METADATA}NAME to use it"
    use = None if is_prefixed(column) else next((use for use in places if is_called(column, use)), None)
    if use is not None:
        choice = ", or choose it with options.label" if use == "label" else ""
        return (
            f"is not used, since another column is the {use}: rename it to "
            f"{METADATA}{display_name(column)} to use it{choice}"
        )
    return fault_of_metadata(metadata_name, metadata)


def fault_of_metadata(name: str, metadata: Mapping[str, object]) -> str:
    """Why a column beside the `metadata` that there are cannot have this name; empty where it can."""
    if FORBIDDEN.search(name) or len(name) > _MAX_NAME:
        return f"has control characters in its name, or more than {_MAX_NAME} characters: rename it"
    if name in metadata:
        return "is the second column of this name: rename it"
    if len(metadata) >= MAX_METADATA:
        return f"is beyond the first {MAX_METADATA} columns of metadata: remove others"
    return ""


def are_names(distinct: int, count: int) -> bool:
    """Whether a column with so many different texts in `count` rows tells images apart and sorts none."""
    return distinct > _MANY and 2 * distinct > count


def reason_to_leave_out(cells: Sequence[str], keep: str = "") -> str:
    """Why a column with these cells does not travel, "" for one that does; `keep` says how it would."""
    stated = [cell for cell in cells if cell]
    if not stated:
        return "is empty"
    distinct = set(stated)
    all_differ = len(stated) >= _FEW and len(distinct) == len(stated)
    if (numbers := as_numbers(stated)) is not None:
        ordered = sorted(number for number in numbers if number is not None)
        counts_rows = all_differ and all(later - number == 1 for number, later in pairwise(ordered))
        return f"counts the rows, so it sorts no images{keep}" if counts_rows else ""
    if all_differ:
        return f"has another text in each of {len(stated)} rows, so it sorts no images{keep}"
    if are_names(len(distinct), len(stated)):
        return f"has {len(distinct)} different texts in {len(stated)} rows, too many to sort images{keep}"
    return ""


def how_to_keep(name: str) -> str:
    """What the owner of a list does to keep the column `name`, after a reason to leave it out."""
    return f": rename it to {METADATA}{display_name(name)} to keep it"
