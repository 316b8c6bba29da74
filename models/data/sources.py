"""Sources of images for an import: files below a folder, or arrays of a builtin data set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models.data.builtin import BuiltinData
from models.data.checks import CheckedImage, ImageLimits, check_image
from models.data.formats import Entry, Manifest
from models.data.packing import MAX_PIXELS_SIDE, encode_png
from models.data.report import FileCode, Rejection


@dataclass(frozen=True)
class Contents:
    """What there is to import. `splits` names the given splits, including those without an image."""

    format: str
    entries: tuple[Entry, ...]
    classes: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    ignored: tuple[Rejection, ...] = ()
    empty_classes: tuple[str, ...] = ()


class Source(Protocol):
    """Images by their number in `contents.entries`; both methods may be called from several threads."""

    contents: Contents

    def check(self, index: int) -> CheckedImage | Rejection: ...

    def encoded(self, index: int) -> bytes: ...


class FolderSource:
    """The files that a manifest names."""

    def __init__(self, manifest: Manifest, limits: ImageLimits) -> None:
        self.contents = Contents(
            manifest.format,
            manifest.entries,
            manifest.classes,
            manifest.group_names,
            manifest.splits,
            manifest.rejected,
            manifest.ignored,
            manifest.empty_classes,
        )
        self._root: Path = manifest.root
        self._limits = limits

    def check(self, index: int) -> CheckedImage | Rejection:
        """Read and decode one file, after checking its size."""
        path = self.contents.entries[index].path
        size = (self._root / path).stat().st_size
        if size > self._limits.max_bytes:
            detail = f"has {size} bytes, more than the limit of {self._limits.max_bytes}: shrink it"
            return Rejection(path, FileCode.TOO_LARGE, detail)
        return check_image(self.encoded(index), path, self._limits)

    def encoded(self, index: int) -> bytes:
        """The unchanged file."""
        return (self._root / self.contents.entries[index].path).read_bytes()


class ArraySource:
    """Images in memory, as PNG files named by their number."""

    def __init__(self, name: str, arrays: BuiltinData) -> None:
        splits = arrays.splits or (None,) * len(arrays.labels)
        groups = (-1,) * len(arrays.labels) if arrays.groups is None else tuple(arrays.groups.tolist())
        self.contents = Contents(
            format=f"builtin:{name}",
            entries=tuple(
                Entry(f"{arrays.classes[label]}/{index:06d}.png", label, split, group)
                for index, (label, split, group) in enumerate(
                    zip(arrays.labels.tolist(), splits, groups, strict=True)
                )
            ),
            classes=arrays.classes,
            group_names=arrays.group_names,
            splits=tuple(dict.fromkeys(arrays.splits or ())),
        )
        self._images = arrays.images

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
