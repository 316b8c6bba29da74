"""What every archive is held against: names, duplicates, nested archives, a budget of entries and bytes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.data.report import FileCode, ImportRefused, ImportStopped, ProblemCode, Rejection

CHUNK = 1 << 20  # bytes read at a time
BLOCK = 4096  # bytes that a file or folder takes on a common file system, however small

_MAX_NAME = 255  # bytes, of one part: the limit of common file systems
_MAX_PATH = 1024
_MAX_DEPTH = 32
_QUOTED_NAME = 120

# Controls, line breaks, lone surrogates (undecodable bytes), and the characters that turn text around on a
# screen.
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_DRIVE = re.compile(r"^[A-Za-z]:")
_ARCHIVE_SUFFIXES = frozenset(
    (
        ".zip",
        ".tar",
        ".tgz",
        ".gz",
        ".zst",
        ".tzst",
        ".bz2",
        ".tbz2",
        ".xz",
        ".txz",
        ".7z",
        ".rar",
        ".jar",
        ".lz4",
    )
)
_ARCHIVE_MAGIC = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!",
)
_JUNK_NAMES = frozenset((".ds_store", "thumbs.db", "desktop.ini", ".localized"))
_JUNK_PREFIXES = ("._", "~$", ".~lock.")  # the last two: a list that is open in an office program
_DOCUMENT_SUFFIXES = frozenset((".xlsx", ".docx", ".pptx", ".ods", ".odt", ".odp"))
"""Zip archives that nobody unpacks but the reader of a workbook, within its own bounds."""


class ArchiveError(ImportRefused):
    """An archive that is refused as a whole."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What one archive may unpack to.

    `max_ratio` (bytes out per byte in) binds past `ratio_grace` bytes, `min_entry_size` (bytes of the archive
    per entry) past `entry_grace` entries. 64 is below what tiny images take: 64 px PNGs of black and white
    shapes take 70 bytes each in a tar.zst. At about 80 µs per entry, a MiB of archive costs about a second.
    """

    max_entries: int = 1_000_000
    max_bytes: int = 100 << 30
    max_ratio: float = 200.0
    ratio_grace: int = 64 << 20
    min_entry_size: int = 64
    entry_grace: int = 4000


class Budget:
    """Counts what has come out of an archive of `archive_size` bytes, and stops it at the limits."""

    def __init__(self, limits: ArchiveLimits, archive_size: int, should_stop: Callable[[], bool]) -> None:
        self.limits = limits
        self._ratio_bytes = max(limits.ratio_grace, limits.max_ratio * archive_size)
        self._dense_entries = max(limits.entry_grace, archive_size // limits.min_entry_size)
        self._should_stop = should_stop
        self._entries = 0
        self._bytes = 0

    def entry(self) -> None:
        """One more file or folder; it takes a block of the disk besides its content."""
        self._entries += 1
        if self._entries > self.limits.max_entries:
            raise ArchiveError(
                ProblemCode.TOO_MANY_ENTRIES,
                f"the archive has more than {self.limits.max_entries} entries: split it",
            )
        if self._entries > self._dense_entries:
            raise ArchiveError(
                ProblemCode.TOO_MANY_ENTRIES,
                f"the archive has an entry for fewer than {self.limits.min_entry_size} bytes of its size: "
                "images are not that small, so it is rejected as an archive bomb",
            )
        self.spend(BLOCK)

    def spend(self, count: int) -> None:
        """`count` more bytes."""
        if self._should_stop():
            raise ImportStopped
        self._bytes += count
        if self._bytes > self.limits.max_bytes:
            raise ArchiveError(
                ProblemCode.TOO_MANY_BYTES,
                f"the archive unpacks to more than {self.limits.max_bytes} bytes: split it",
            )
        if self._bytes > self._ratio_bytes:
            raise ArchiveError(
                ProblemCode.WRONG_RATIO,
                f"the archive unpacks to more than {self.limits.max_ratio:g} times its size: "
                "images do not compress like that, so it is rejected as an archive bomb",
            )


class Unpacking:
    """The one place that writes: each entry is admitted by name, then written by parts below `target`."""

    def __init__(self, target: Path, budget: Budget) -> None:
        self.budget = budget
        self.junk: list[Rejection] = []
        self._target = target
        self._files: set[str] = set()
        self._folders: set[str] = {""}
        self._created: set[PurePosixPath] = {PurePosixPath()}

    def admit(self, name: str, *, folder: bool) -> PurePosixPath | None:
        """The safe path of an entry, None for junk (noted, not written, and so without a claim to its name).

        Raises `ArchiveError` for a hostile name.
        """
        self.budget.entry()
        path = safe_name(name)
        if not path.parts and not folder:
            raise ArchiveError(
                ProblemCode.BAD_NAME, f"{quoted(name)} is not the name of a file: pack it again"
            )
        if is_junk(path):
            if not folder:
                self.junk.append(Rejection(str(path), FileCode.JUNK, "was left there by an operating system"))
            return None
        self._claim(path, folder=folder)
        if not folder and path.suffix.lower() in _ARCHIVE_SUFFIXES:
            raise _nested(path)
        return path

    def make_folder(self, path: PurePosixPath) -> None:
        """An admitted folder, and those above it."""
        if path not in self._created:
            self._make_parent(path)
            (self._target / path).mkdir()
            self._created.add(path)

    def _make_parent(self, path: PurePosixPath) -> None:
        """A folder that occurs only in a path is charged as an entry: one deep name makes up to 31."""
        if path.parent not in self._created:
            self.budget.entry()
            self.make_folder(path.parent)

    def write(self, path: PurePosixPath, chunks: Iterable[bytes]) -> int:
        """Write an admitted file; returns its size in bytes. Nothing that exists is ever opened."""
        self._make_parent(path)
        size = 0
        with (self._target / path).open("xb") as file:
            for chunk in chunks:
                if size == 0:
                    require_no_archive(path, chunk)
                size += len(chunk)
                file.write(chunk)
        return size

    def _claim(self, path: PurePosixPath, *, folder: bool) -> None:
        """A file takes its name for itself; what differs in case or in Unicode form only is the same name.

        As on file systems that ignore case, letter by letter: `straße` and `strasse` are two names.
        """
        key = unicodedata.normalize("NFC", str(path) if path.parts else "").lower()
        parents = [key[:end] for end in range(len(key)) if key[end] == "/"]
        taken = key in self._files or (key in self._folders and not folder)
        if taken or not self._files.isdisjoint(parents):
            raise ArchiveError(
                ProblemCode.DUPLICATE_NAME,
                f"{quoted(str(path))} is in the archive twice (case is ignored): rename one of them",
            )
        self._folders.update(parents)
        (self._folders if folder else self._files).add(key)


def safe_name(name: str) -> PurePosixPath:
    """The relative path an entry's name means. Raises `ArchiveError` for one that no honest archive holds."""
    if FORBIDDEN.search(name):
        raise ArchiveError(
            ProblemCode.BAD_NAME, f"{quoted(name)} has control characters or is not UTF-8: rename the file"
        )
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        raise ArchiveError(
            ProblemCode.ABSOLUTE_NAME, f"{quoted(name)} is absolute: pack the folder from outside"
        )
    if ".." in re.split(r"[/\\]", name):
        raise ArchiveError(
            ProblemCode.CLIMBING_NAME, f"{quoted(name)} climbs out of its folder: pack it from outside"
        )
    if "\\" in name:
        raise ArchiveError(
            ProblemCode.BAD_NAME, f"{quoted(name)} has a backslash: pack it with forward slashes"
        )
    path = PurePosixPath(name)
    if (
        len(path.parts) > _MAX_DEPTH
        or len(name.encode()) > _MAX_PATH
        or any(len(part.encode()) > _MAX_NAME for part in path.parts)
    ):
        raise ArchiveError(ProblemCode.BAD_NAME, f"{quoted(name)} is too long or nested too deep: shorten it")
    return path


def is_junk(path: PurePosixPath) -> bool:
    """Whether an operating system or an office program left it there: `._x`, `.DS_Store`, `~$labels.xlsx`."""
    name = path.name
    return "__MACOSX" in path.parts or name.startswith(_JUNK_PREFIXES) or name.casefold() in _JUNK_NAMES


def plain(text: str) -> str:
    """The text with a space for each character that no name may have."""
    return FORBIDDEN.sub(" ", text)


def quoted(name: str) -> str:
    """A name fit to be shown: escaped, quoted and of bounded length."""
    text = name if len(name) <= _QUOTED_NAME else name[:_QUOTED_NAME] + "…"
    return ascii(text) if FORBIDDEN.search(text) else repr(text)


def require_no_archive(path: PurePosixPath, head: bytes) -> None:
    """Raise `ArchiveError` for a file whose first bytes are an archive's, but for documents."""
    is_archive = head.startswith(_ARCHIVE_MAGIC) or head[257:262] == b"ustar"
    if is_archive and path.suffix.lower() not in _DOCUMENT_SUFFIXES:
        raise _nested(path)


def _nested(path: PurePosixPath) -> ArchiveError:
    return ArchiveError(
        ProblemCode.NESTED_ARCHIVE,
        f"{quoted(str(path))} is an archive itself: unpack it first, or leave it out",
    )
