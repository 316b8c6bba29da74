"""Hugging Face's `imagefolder`: images with a `metadata.csv`, `.jsonl` or `.parquet`, or one in each folder.

The column `file_name` is relative to the folder of its file. All other columns of text or numbers are
metadata, unless they are called like the label, the split or the subject. Without a label column, the folders
`[split/]class` are the classes. (Parquet files that hold the images themselves are read by `shards`.)
"""

from __future__ import annotations

from pathlib import PurePosixPath

from models.data.formats.features import class_column, names_beside
from models.data.formats.lists.list_reader import Conventions, ListOfImages
from models.data.formats.lists.manifests import read_lists
from models.data.formats.lists.parquet import scalar_table
from models.data.formats.lists.rows import json_lines, separated_text
from models.data.formats.manifest import FormatError, FormatName, FormatOptions, Listing, Manifest
from models.data.report import ProblemCode

_READERS = {"metadata.csv": separated_text, "metadata.jsonl": json_lines, "metadata.parquet": scalar_table}
_PATH = "file_name"


def matches(listing: Listing) -> bool:
    """A list of that name with the column `file_name`."""
    return any(_PATH in each.table.header for each in _lists(listing))


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """Every row of every list is an image. Raises `FormatError`."""
    lists = [each for each in _lists(listing) if _PATH in each.table.header]
    if not lists:
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"there is no {', '.join(_READERS)} with the column {_PATH}, nor parquet with images: add one",
        )
    names = names_beside(listing.root)
    conventions = Conventions(
        FormatName.HUGGING_FACE,
        split_folders=True,
        path=_PATH,
        label=class_column(names),
        names=names,
    )
    return read_lists(listing, lists, options, conventions)


def _lists(listing: Listing) -> list[ListOfImages]:
    paths = [path for path in listing.files if PurePosixPath(path).name in _READERS]
    return [ListOfImages(path, _READERS[PurePosixPath(path).name](listing.root / path)) for path in paths]
