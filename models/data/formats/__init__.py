"""From a folder to a manifest: which image has which label, split and group, in each layout that is known.

A format is a function from a `Listing` to a `Manifest`. It opens lists, never images, and only
files that the listing saw, so that no name in a list leads out of the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from models.data.formats import backgrounds, celeba, image_folder, table, waterbirds
from models.data.formats.listing import Listing, scan
from models.data.formats.manifest import Entry, FormatError, FormatName, FormatOptions, Manifest
from models.data.report import ProblemCode

__all__ = ["Entry", "FormatError", "FormatName", "FormatOptions", "Manifest", "read"]

_READERS: Mapping[FormatName, Callable[[Listing, FormatOptions], Manifest]] = {
    FormatName.IMAGE_FOLDER: image_folder.read,
    FormatName.CSV: table.read,
    FormatName.WATERBIRDS: waterbirds.read,
    FormatName.CELEBA: celeba.read,
    FormatName.BACKGROUNDS_CHALLENGE: backgrounds.read,
}

# The most particular layout first: each of them could also be read as folders of images.
_SIGNS: Mapping[FormatName, Callable[[Listing], bool]] = {
    FormatName.WATERBIRDS: waterbirds.matches,
    FormatName.CELEBA: celeba.matches,
    FormatName.BACKGROUNDS_CHALLENGE: backgrounds.matches,
    FormatName.CSV: table.matches,
    FormatName.IMAGE_FOLDER: image_folder.matches,
}


def read(root: Path, format: FormatName | None = None, options: FormatOptions | None = None) -> Manifest:
    """What the files below `root` mean; `format` None detects it. Raises `FormatError`."""
    listing = scan(root)
    if not listing.files:
        raise FormatError(ProblemCode.NO_IMAGES, "there are no files: upload a folder of images")
    format = format or _detect(listing)
    return _READERS[format](listing, options or FormatOptions())


def _detect(listing: Listing) -> FormatName:
    for name, matches in _SIGNS.items():
        if matches(listing):
            return name
    raise FormatError(
        ProblemCode.UNKNOWN_FORMAT,
        "the files have no known layout: put the images into one folder per class, or add a labels.csv "
        "with the columns path and label",
    )
