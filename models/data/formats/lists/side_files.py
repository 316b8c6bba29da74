"""Files beside a list, which say of all its images: the classes in their order, the window of grey levels."""

from __future__ import annotations

from collections.abc import Sequence

from models.data.formats.lists.headings import MAX_TEXT
from models.data.formats.manifest import Listing, natural_order, open_list
from models.data.grey import GreyWindow, read_window
from models.data.report import FileCode, Rejection

CLASSES_FILE = "classes.txt"
"""At the top, beside a list: the classes in their order, one a line."""
WINDOW_FILE = "grey_window.txt"
"""The same for the window of 16-bit images: two levels, low and high, on one line."""


def listed_classes(listing: Listing, labels: set[str], left_out: list[Rejection]) -> Sequence[str] | None:
    """The lines of `classes.txt`, if it names all labels; else the file is `left_out`, and so says why."""
    if CLASSES_FILE not in listing.top_files:
        return None
    with open_list(listing.root / CLASSES_FILE, errors="replace") as file:
        order = [line.strip() for line in file]
    if unnamed := natural_order(labels.difference(order)):
        detail = f"does not name the class {unnamed[0]!r}, so the classes are in alphabetical order"
        left_out.append(Rejection(CLASSES_FILE, FileCode.NOT_LISTED, detail))
        return None
    return order


def listed_window(listing: Listing, left_out: list[Rejection]) -> GreyWindow | None:
    """That of `grey_window.txt`."""
    if WINDOW_FILE not in listing.top_files:
        return None
    with open_list(listing.root / WINDOW_FILE, errors="replace") as file:
        levels = file.read(MAX_TEXT).split()
    try:
        return read_window([int(level) for level in levels])
    except ValueError:
        detail = "is not two levels, low and high, of 0 to 65535, so it was left out"
        left_out.append(Rejection(WINDOW_FILE, FileCode.NOT_LISTED, detail))
        return None
