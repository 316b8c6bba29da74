"""Images without labels: each image file is a sample under its path, whatever folders it lies in."""

from __future__ import annotations

from pathlib import PurePosixPath

from models.data.formats.lists.side_files import WINDOW_FILE, listed_window
from models.data.formats.manifest import (
    LIST_SUFFIXES,
    DatasetFormat,
    Entry,
    FormatError,
    FormatOptions,
    Listing,
    Manifest,
    is_image_name,
    not_an_image_name,
)
from models.data.report import FileCode, ProblemCode, Rejection

NO_LABEL = -1


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """Every image; lists are ignored, and a rejection names each other file. Raises `FormatError`."""
    entries, rejected, ignored = list[Entry](), list(listing.rejected), list(listing.ignored)
    for path in listing.files:
        if is_image_name(path):
            entries.append(Entry(path, NO_LABEL))
        elif PurePosixPath(path).suffix.lower() not in LIST_SUFFIXES:
            rejected.append(not_an_image_name(path))
        elif path != WINDOW_FILE:
            ignored.append(Rejection(path, FileCode.NOT_LISTED, "is a list, so it was left out"))
    if not entries and not rejected:
        raise FormatError(ProblemCode.NO_IMAGES, "there is no image among the files: add some")
    window = listed_window(listing, ignored)
    return Manifest(
        root=listing.root,
        format=DatasetFormat.UNLABELLED,
        entries=tuple(entries),
        classes=(),
        rejected=tuple(rejected),
        ignored=tuple(ignored),
        grey_window=window,
    )
