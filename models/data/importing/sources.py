"""Sources of images for an import: files below a folder, or arrays of a builtin data set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from models.data.archives import ArchiveLimits
from models.data.formats import Entry, Manifest
from models.data.formats.entries import Entries
from models.data.formats.manifest import is_image_name
from models.data.images.checks import CheckedImage, check_image, stored_file
from models.data.images.limits import ImageLimits
from models.data.importing.builtin import BuiltinData
from models.data.packing import MAX_PIXELS_SIDE, encode_png
from models.data.report import FileCode, ImportRefused, ProblemCode, Rejection


class Source(Protocol):
    """Images by their number in `manifest.entries`, a shard at a time: those that were fetched, and not yet
    released, can be checked, and read as a store keeps them, from several threads or forked processes."""

    manifest: Manifest
    remote: bool
    """Whether they are fetched from where other hosts may fetch them, too."""

    def fetch(self, images: range) -> None: ...

    def check(self, index: int) -> CheckedImage | Rejection: ...

    def encoded(self, index: int) -> bytes: ...

    def release(self, images: range) -> None: ...


def check_size(path: str, size: int, limits: ImageLimits) -> Rejection | None:
    """The rejection of an image file of more bytes than one may have."""
    if size <= limits.max_bytes:
        return None
    detail = f"has {size} bytes, more than the limit of {limits.max_bytes}: shrink it"
    return Rejection(path, FileCode.TOO_LARGE, detail)


def check_limits(manifest: Manifest, limits: ArchiveLimits) -> None:
    """Raise `ImportRefused` for more files or bytes below a folder than an archive may hold."""
    count = len(manifest.entries)
    if count > limits.max_entries:
        raise ImportRefused(
            ProblemCode.TOO_MANY_ENTRIES,
            f"there are {count} images, more than the limit of {limits.max_entries}: split the data set",
        )
    if sum((manifest.root / entry.path).stat().st_size for entry in manifest.entries) > limits.max_bytes:
        raise ImportRefused(
            ProblemCode.TOO_MANY_BYTES,
            f"the images have more bytes than the limit of {limits.max_bytes}: split the data set",
        )


Fetch = Callable[[Sequence[Path]], None]
"""Brings files that are elsewhere into the place of what stands in for them."""


class FolderSource:
    """The files that a manifest names.
    `temporary` ones are removed once they are released. `fetch_files` brings images for which files of their
    size stand in; lists, and files of other names, are there."""

    def __init__(
        self,
        manifest: Manifest,
        limits: ImageLimits,
        *,
        temporary: bool = False,
        fetch_files: Fetch | None = None,
    ) -> None:
        self.manifest = manifest
        self._entries = Entries.of(manifest.entries)
        self._limits = limits
        self._temporary = temporary
        self._fetch_files = fetch_files
        self.remote = fetch_files is not None

    def fetch(self, images: range) -> None:
        """Called once for the images of a shard. Files that are too large are left where they are."""
        if self._fetch_files is not None:
            files = (file for file in map(self._file, images) if is_image_name(file.name))
            self._fetch_files([file for file in files if self._size(file) <= self._limits.max_bytes])

    def check(self, index: int) -> CheckedImage | Rejection:
        """Read and decode one file, after checking its size."""
        file, path = self._file(index), self._entries.path(index)
        too_large = check_size(path, self._size(file), self._limits)
        return too_large or check_image(self._read(file), path, self._limits)

    def encoded(self, index: int) -> bytes:
        """The file as a store keeps it."""
        return stored_file(self._read(self._file(index)), self._limits)

    def release(self, images: range) -> None:
        """Called once for the images of a shard that is complete."""
        if self._temporary:
            for index in images:
                self._file(index).unlink(missing_ok=True)

    def _size(self, file: Path) -> int:
        return file.stat().st_size

    def _read(self, file: Path) -> bytes:
        return file.read_bytes()

    def _file(self, index: int) -> Path:
        return self.manifest.root / self._entries.path(index)


class ArraySource:
    """Images in memory, as PNG files named by their number."""

    remote = False

    def __init__(self, name: str, arrays: BuiltinData) -> None:
        splits = arrays.splits or (None,) * len(arrays.labels)
        groups = (-1,) * len(arrays.labels) if arrays.groups is None else tuple(arrays.groups.tolist())
        self.manifest = Manifest(
            root=Path(),  # there are no files
            format=f"builtin:{name}",
            entries=Entries.of(
                [
                    Entry(f"{arrays.classes[label]}/{index:06d}.png", label, split, group)
                    for index, (label, split, group) in enumerate(
                        zip(arrays.labels.tolist(), splits, groups, strict=True)
                    )
                ]
            ),
            classes=arrays.classes,
            group_names=arrays.group_names,
            splits=tuple(dict.fromkeys(arrays.splits or ())),
        )
        self._images = arrays.images

    def fetch(self, images: range) -> None:
        """They are there."""

    def check(self, index: int) -> CheckedImage:
        """Sizes and hashes; images in memory need no checks."""
        pixels = self._images[index]
        height, width = pixels.shape[:2]
        digest = hashlib.sha256(pixels.tobytes()).digest()
        small = max(height, width) <= MAX_PIXELS_SIDE
        return CheckedImage(width, height, "PNG", digest, digest, pixels if small else None)

    def encoded(self, index: int) -> bytes:
        """One image as a PNG file."""
        return encode_png(self._images[index])

    def release(self, images: range) -> None:
        """They stay in memory."""
