"""The files of a folder, and what a format makes of them: entries with their labels, and what is left out."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TextIO

from masktune.contract.hyperparameters import DatasetFormat as DatasetFormat
from models.data.archives.guards import FORBIDDEN, is_junk, quoted
from models.data.grey import GreyWindow
from models.data.images.image_types import TYPES
from models.data.report import ColumnReading, FileCode, ImportRefused, ProblemCode, Rejection
from models.data.splits import canonical_split


class FormatError(ImportRefused):
    """A folder that cannot be read in the format at all."""


@dataclass(frozen=True)
class FormatOptions:
    """What the owner may decide.
    `classes` fixes the list and its order: other labels are rejected.

    `target` and `group` are attributes of CelebA; `group` may also be the column `meta:NAME` of a list, and
    `label` is the column that holds the classes (in Label Studio: the question that asks for them), and
    `path` the one that names the files.
    `subject` is a pattern on the path, like `*/{subject}_*`; `hold_out`, each `meta:NAME=VALUE`, names the
    samples of the test split. `new_splits` ignores those that the files name; `split` is that of all images,
    whatever the files say.
    """

    classes: tuple[str, ...] | None = None
    target: str = "Blond_Hair"
    group: str | None = None
    label: str | None = None
    path: str | None = None
    subject: str | None = None
    hold_out: tuple[str, ...] = ()
    new_splits: bool = False
    split: Literal["test"] | None = None


class Entry(NamedTuple):
    """An image to be checked: path below `Manifest.root`, class (-1: none), split (None: to make, or
    none, without classes), group (-1: none).

    `subject` is the patient, animal, burst … that it shows; `metadata` its cells in the order of
    `Manifest.metadata_names`, empty where they are missing.
    """

    path: str
    label: int
    split: str | None = None
    group: int = -1
    subject: str | None = None
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """All images to import.
    `splits` names the splits that were given, those without an image included.

    `format` is a `DatasetFormat` or `builtin:NAME`. `empty_classes` are folders that stand where classes do
    and hold no image. `columns` says of each column of a list what it was read as. `hold_out` are the
    conditions that made the test split; `grey_window` is the one that a list brings along.
    """

    root: Path
    format: str
    entries: Sequence[Entry]
    classes: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    ignored: tuple[Rejection, ...] = ()
    empty_classes: tuple[str, ...] = ()
    metadata_names: tuple[str, ...] = ()
    columns: tuple[ColumnReading, ...] = ()
    hold_out: tuple[str, ...] = ()
    grey_window: GreyWindow | None = None

    @property
    def labelled(self) -> bool:
        """Whether its images have classes, and splits that are named or to be made."""
        return self.format != DatasetFormat.UNLABELLED


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names sorted, runs of digits by their value: 2 before 10."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.findall(r"[0-9]+|[^0-9]+", name)
        return [(0, int(part), part) if "0" <= part[0] <= "9" else (1, 0, part) for part in parts]

    return tuple(sorted(set(names), key=key))


MAX_LIST = 256 << 20  # bytes; CelebA's 202,599 rows of 40 attributes are 25 MB
LIST_SUFFIXES = frozenset((".csv", ".txt", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet", ".xml"))


@dataclass(frozen=True, eq=False)
class Listing:
    """Paths relative to `root`, sorted, with slashes. `rejected` are links, `ignored` junk."""

    root: Path
    files: tuple[str, ...]
    folders: tuple[str, ...]
    rejected: tuple[Rejection, ...]
    ignored: tuple[Rejection, ...]

    @cached_property
    def known(self) -> frozenset[str]:
        """The files, for look-ups."""
        return frozenset(self.files)

    @cached_property
    def top_folders(self) -> tuple[str, ...]:
        """The folders that lie in `root` itself."""
        return tuple(folder for folder in self.folders if "/" not in folder)

    @cached_property
    def top_files(self) -> tuple[str, ...]:
        """The files that lie in `root` itself."""
        return tuple(file for file in self.files if "/" not in file)

    def subfolders(self, folder: str) -> tuple[str, ...]:
        """Names of the folders that lie in `folder` itself."""
        inside = (PurePosixPath(other) for other in self.folders)
        return tuple(other.name for other in inside if str(other.parent) == folder)

    def unlisted(self, listed: Iterable[str]) -> tuple[Rejection, ...]:
        """Files that no list names."""
        return tuple(
            Rejection(path, FileCode.NOT_LISTED, "is not in the list, so it was left out")
            for path in sorted(self.known.difference(listed))
        )


def is_image_name(path: str) -> bool:
    """Whether the name is that of an image type we read."""
    return PurePosixPath(path).suffix.lower() in TYPES


def not_an_image_name(path: str) -> Rejection:
    """The rejection of a file that should be an image, by its name."""
    detail = "does not have the name of an image: save it as JPEG, PNG, WebP, GIF, BMP or TIFF"
    return Rejection(path, FileCode.UNSUPPORTED_TYPE, detail)


def open_list(path: Path, *, errors: str = "strict", most: int = MAX_LIST) -> TextIO:
    """A list opened for reading. Raises `FormatError` for one so large that a line might fill the memory."""
    require_size(path, most)
    with path.open("rb") as file:
        utf_16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # "Unicode text" of Excel
    return path.open(encoding="utf-16" if utf_16 else "utf-8-sig", errors=errors, newline="")


def require_size(path: Path, most: int) -> None:
    """Raise `FormatError` for a list of more than `most` bytes."""
    size = path.stat().st_size
    if size > most:
        raise FormatError(
            ProblemCode.BAD_LIST, f"{path.name} has {size} bytes, more than the limit of {most}: split it"
        )


def scan(root: Path, *, unwrap: bool = True) -> Listing:
    """List `root`. A single folder that wraps everything else is stepped into if `unwrap`."""
    files: list[str] = []
    folders: list[str] = []
    rejected: list[Rejection] = []
    ignored: list[Rejection] = []
    for path, kind in sorted(_walk(root, "")):
        if is_junk(PurePosixPath(path)):
            if kind is not _FOLDER:
                ignored.append(Rejection(path, FileCode.JUNK, "was left there by an operating system"))
        elif FORBIDDEN.search(path):
            detail = "has control characters or is not UTF-8: rename it"
            rejected.append(Rejection(quoted(path), FileCode.BAD_PATH, detail))
        elif kind is _OTHER:
            rejected.append(
                Rejection(path, FileCode.LINK, "is a link or a device: put the file itself there")
            )
        else:
            (folders if kind is _FOLDER else files).append(path)
    listing = Listing(root, tuple(files), tuple(folders), tuple(rejected), tuple(ignored))
    if not (unwrap and _is_wrapped(listing)):
        return listing
    wrapper = listing.top_folders[0]
    inner = scan(root / wrapper)
    outside = tuple(junk for junk in ignored if not junk.path.startswith(f"{wrapper}/"))
    return replace(inner, ignored=outside + inner.ignored)


_FILE, _FOLDER, _OTHER = "file", "folder", "other"


def _walk(root: Path, below: str) -> Iterator[tuple[str, str]]:
    with os.scandir(root / below) as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield path, _FOLDER
                yield from _walk(root, path)
            else:
                yield path, _FILE if entry.is_file(follow_symlinks=False) else _OTHER


def _is_wrapped(listing: Listing) -> bool:
    """One folder and nothing beside it, which is neither a split nor the only class."""
    if listing.top_files or listing.rejected or len(listing.top_folders) != 1:
        return False
    only = listing.top_folders[0]
    lists = any(
        file.count("/") == 1 and PurePosixPath(file).suffix.lower() in LIST_SUFFIXES for file in listing.files
    )
    return canonical_split(only) is None and (lists or bool(listing.subfolders(only)))
