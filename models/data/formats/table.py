"""One list of images with a header, beside or above the images it names: `path,label[,split][,group]…`.

It is separated text (comma, semicolon or tab; UTF-8, or UTF-16 with its mark) or a sheet of a workbook.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from models.data.formats.lists import workbook
from models.data.formats.lists.headings import columns_of, is_called, position_of
from models.data.formats.lists.list_reader import Conventions, ListOfImages
from models.data.formats.lists.manifests import read_lists
from models.data.formats.lists.rows import separated_text
from models.data.formats.lists.side_files import CLASSES_FILE, WINDOW_FILE
from models.data.formats.manifest import DatasetFormat, FormatError, FormatOptions, Listing, Manifest
from models.data.report import ColumnUse, ProblemCode

_TEXT = frozenset((".csv", ".tsv", ".txt"))
_OTHER_SPREADSHEETS = frozenset((".xls", ".xlsb", ".xlsm", ".ods", ".numbers"))


def matches(listing: Listing, options: FormatOptions | None = None) -> bool:
    """A list at the top with a column of paths and one of classes: those chosen, or of the usual names."""
    return any(_is_complete(each, options or FormatOptions()) for each in _top(listing).lists)


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """A row is an image; files that no row names are ignored.

    Without a column of classes, the classes are the folders of the images.
    """
    return read_lists(listing, [_the_list(listing, options)], options, Conventions(DatasetFormat.CSV))


def near_misses(listing: Listing) -> dict[str, str]:
    """File → why it is no list of images, and what would make it one."""
    top = _top(listing)
    misses = dict(top.unreadable)
    for each in top.lists:
        columns = f"{each.table.name} has {columns_of(each.table.header)}, none of which is known"
        if _has(each, "path"):
            misses[each.path] = (
                f"{columns} to have the classes: rename the right one to label, name it in options.label, or "
                "choose the format csv if the folders are the classes"
            )
        elif _has(each, "label") or not each.path.endswith(".txt"):
            misses[each.path] = (
                f"{columns} to name the files: the first row must name the columns, path and label among "
                "them, or those in options.path and options.label"
            )
    return misses


def _the_list(listing: Listing, options: FormatOptions) -> ListOfImages:
    lists = _top(listing).lists
    candidates = [each for each in lists if _is_complete(each, options)]
    candidates = candidates or [each for each in lists if options.path or _has(each, "path")]
    if not candidates:
        advice = "; ".join(near_misses(listing).values()) or "add one, such as labels.csv or labels.xlsx"
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"there is no list with the columns path and label at the top level: {advice}",
        )
    if len(candidates) > 1:
        names = ", ".join(each.table.name for each in candidates)
        raise FormatError(ProblemCode.AMBIGUOUS_LIST, f"{names} could each be the list: keep one")
    return candidates[0]


class _Top(NamedTuple):
    """The files and sheets at the top that have a header, and why others cannot be read."""

    lists: list[ListOfImages]
    unreadable: dict[str, str]


@lru_cache(maxsize=1)  # each of the functions above asks for it, and a large workbook takes seconds to open
def _top(listing: Listing) -> _Top:
    top = _Top([], {})
    for file in listing.top_files:
        suffix = PurePosixPath(file).suffix.lower()
        if suffix in _TEXT and file not in (CLASSES_FILE, WINDOW_FILE):
            tables = [separated_text(listing.root / file)]
        elif suffix == workbook.SUFFIX:
            try:
                tables = workbook.sheets(listing.root / file)
            except FormatError as error:
                top.unreadable[file] = str(error)
                continue
        elif suffix in _OTHER_SPREADSHEETS:
            top.unreadable[file] = (
                f"{file} is a spreadsheet of a kind that is not read: save it as .xlsx or as CSV"
            )
            continue
        else:
            continue
        top.lists.extend(ListOfImages(file, table) for table in tables if table.header)
    return top


def _has(each: ListOfImages, use: ColumnUse, chosen: str | None = None) -> bool:
    if chosen is not None:
        return position_of(each.table.header, chosen) is not None
    return any(is_called(column, use) for column in each.table.header)


def _is_complete(each: ListOfImages, options: FormatOptions) -> bool:
    return _has(each, "label", options.label) and _has(each, "path", options.path)
