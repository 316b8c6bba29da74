"""From a folder to a manifest: which image has which label, split and group, in each layout that is known.

A format is a function from a `Listing` to a `Manifest`. It opens lists, never images, and only
files that the listing saw, so that no name in a list leads out of the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from models.data.archives.guards import Budget
from models.data.formats import backgrounds, celeba, hugging_face, image_folder, table, unlabelled, waterbirds
from models.data.formats.annotations import coco, cvat, label_studio
from models.data.formats.hugging_face import ShardedFolder, find_shards, unpack_shards
from models.data.formats.manifest import (
    DatasetFormat,
    Entry,
    FormatError,
    FormatOptions,
    Listing,
    Manifest,
    scan,
)
from models.data.formats.owner_options import with_options
from models.data.report import ProblemCode

__all__ = [
    "DatasetFormat",
    "Entry",
    "FormatError",
    "FormatOptions",
    "Manifest",
    "find_shards",
    "read",
    "read_shards",
]

_READERS: Mapping[DatasetFormat, Callable[[Listing, FormatOptions], Manifest]] = {
    DatasetFormat.IMAGE_FOLDER: image_folder.read,
    DatasetFormat.CSV: table.read,
    DatasetFormat.WATERBIRDS: waterbirds.read,
    DatasetFormat.CELEBA: celeba.read,
    DatasetFormat.BACKGROUNDS_CHALLENGE: backgrounds.read,
    DatasetFormat.COCO: coco.read,
    DatasetFormat.CVAT: cvat.read,
    DatasetFormat.LABEL_STUDIO: label_studio.read,
    DatasetFormat.HUGGING_FACE: hugging_face.read,
    DatasetFormat.UNLABELLED: unlabelled.read,
}

# The most particular layout first: each of them could also be read as folders of images, which come last. A
# list comes before folders of any names: a download of any layout has one, which says more than they do.
_SIGNS: Mapping[DatasetFormat, Callable[[Listing], bool]] = {
    DatasetFormat.WATERBIRDS: waterbirds.matches,
    DatasetFormat.CELEBA: celeba.matches,
    DatasetFormat.HUGGING_FACE: hugging_face.matches,
    DatasetFormat.CSV: table.matches,
    DatasetFormat.BACKGROUNDS_CHALLENGE: backgrounds.matches,
    DatasetFormat.COCO: coco.matches,
    DatasetFormat.CVAT: cvat.matches,
    DatasetFormat.LABEL_STUDIO: label_studio.matches,
}


def read(root: Path, format: DatasetFormat | None = None, options: FormatOptions | None = None) -> Manifest:
    """What the files below `root` mean; `format` None detects it. Raises `FormatError`."""
    listing = scan(root, unwrap=format is not DatasetFormat.UNLABELLED)
    options = options or FormatOptions()
    if not listing.files:
        raise FormatError(ProblemCode.NO_IMAGES, "there are no files: upload a folder of images")
    manifest = with_options(_READERS[format or _detect(listing, options)](listing, options), options)
    return _with_near_misses(manifest, listing) if manifest.format == DatasetFormat.IMAGE_FOLDER else manifest


def read_shards(sharded: ShardedFolder, target: Path, options: FormatOptions, budget: Budget) -> Manifest:
    """What parquet files with images mean, which are unpacked below the new folder `target`.

    Raises `FormatError`, `ArchiveError` beyond the budget, and `ImportStopped`.
    """
    return with_options(unpack_shards(sharded, target, options, budget), options)


def _detect(listing: Listing, options: FormatOptions) -> DatasetFormat:
    for name, matches in _SIGNS.items():
        if matches(listing):
            return name
    if table.matches(listing, options):
        return DatasetFormat.CSV
    if image_folder.matches(listing):
        return DatasetFormat.IMAGE_FOLDER
    if reasons := table.near_misses(listing):
        raise FormatError(ProblemCode.BAD_LIST, "; ".join(reasons.values()))
    raise FormatError(
        ProblemCode.UNKNOWN_FORMAT,
        "the files have no known layout: put the images into one folder per class, or add a labels.csv "
        "with the columns path and label; images without labels have the format unlabelled",
    )


def _with_near_misses(manifest: Manifest, listing: Listing) -> Manifest:
    """The folders, beside lists that name no file or no class; such a list counted if there is one folder."""
    reasons = table.near_misses(listing)
    if reasons and len(manifest.classes) < 2:
        raise FormatError(ProblemCode.BAD_LIST, "; ".join(reasons.values()))
    ignored = tuple(
        rejection._replace(detail=reasons.get(rejection.path, rejection.detail))
        for rejection in manifest.ignored
    )
    return replace(manifest, ignored=ignored)
