"""Hugging Face's `imagefolder`: images with a `metadata.csv`, `.jsonl` or `.parquet`, or one in each
folder; and parquet files that hold the images themselves, as its `datasets` and its hub write them.

The column `file_name` of a list is relative to the folder of its file. All other columns of text or
numbers are metadata, unless they are called like the label, the split or the subject. Without a label
column, the folders `[split/]class` are the classes.

In a parquet file with images, a column is a struct of `bytes` and `path`; the split is in the name of the
file, as in `train-00000-of-00002.parquet`, or of its folder. The images are unpacked first, like those of
an archive and within the same limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa

from models.data.archives.guards import FORBIDDEN, Budget
from models.data.formats.features import class_column, names_beside, names_in_schema
from models.data.formats.lists.headings import columns_of, is_called
from models.data.formats.lists.list_reader import Conventions, ListOfImages
from models.data.formats.lists.manifests import read_lists
from models.data.formats.lists.rows import (
    Line,
    Table,
    cell_text,
    is_scalar,
    json_lines,
    records,
    require_few_columns,
    scalar_table,
    schema_of,
    separated_text,
    too_much_text,
)
from models.data.formats.manifest import (
    MAX_LIST,
    DatasetFormat,
    FormatError,
    FormatOptions,
    Listing,
    Manifest,
    is_image_name,
    scan,
)
from models.data.formats.matching import split_in
from models.data.images.image_types import TYPES, image_type
from models.data.report import FileCode, ProblemCode, Rejection

_READERS = {"metadata.csv": separated_text, "metadata.jsonl": json_lines, "metadata.parquet": scalar_table}
_PATH = "file_name"
_SUFFIX = ".parquet"
_SUFFIX_OF: Mapping[str | None, str] = {kind: suffix for suffix, kind in reversed(list(TYPES.items()))}
_MAX_STEM = 100  # characters


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
        DatasetFormat.HUGGING_FACE,
        split_folders=True,
        path=_PATH,
        label=class_column(names),
        names=names,
    )
    return read_lists(listing, lists, options, conventions)


def _lists(listing: Listing) -> list[ListOfImages]:
    paths = [path for path in listing.files if PurePosixPath(path).name in _READERS]
    return [ListOfImages(path, _READERS[PurePosixPath(path).name](listing.root / path)) for path in paths]


class Shard(NamedTuple):
    """A parquet file with images: its path in the listing, its columns, and which of them has the images."""

    path: str
    schema: pa.Schema
    image: str


class ShardedFolder(NamedTuple):
    """A folder and the files in it that hold images, at least one."""

    listing: Listing
    shards: Sequence[Shard]

    @property
    def size(self) -> int:
        """Of those files, in bytes."""
        return sum((self.listing.root / shard.path).stat().st_size for shard in self.shards)


def find_shards(folder: Path) -> ShardedFolder | None:
    """The parquet files with images, None without any. Raises `FormatError` if all there is are others."""
    if next(folder.rglob(f"*{_SUFFIX}"), None) is None:
        return None
    listing = scan(folder)
    shards, refusals = [], []
    for path in listing.files:
        if path.endswith(_SUFFIX):
            try:
                schema = schema_of(listing.root / path)
                shards.append(Shard(path, schema, _image_column(path, schema)))
            except FormatError as refusal:
                refusals.append(refusal)
    if refusals and not shards and not any(map(is_image_name, listing.files)):
        raise refusals[0]
    return ShardedFolder(listing, shards) if shards else None


def unpack_shards(sharded: ShardedFolder, target: Path, options: FormatOptions, budget: Budget) -> Manifest:
    """Write the images below the new folder `target`, one by one, and read the other columns as their list.

    Raises `FormatError`, `ArchiveError` beyond the budget, and `ImportStopped`.
    """
    listing, shards = sharded
    names = next(filter(None, (names_in_schema(shard.schema) for shard in shards)), None)
    names = names or names_beside(listing.root)
    writer = _Writer(target, budget)
    lists = [
        ListOfImages(PurePosixPath(shard.path).name, writer.write(shard, listing.root / shard.path))
        for shard in shards
    ]
    conventions = Conventions(
        DatasetFormat.HUGGING_FACE,
        split_folders=True,
        path=shards[0].image,
        label=class_column(names),
        names=names,
    )
    manifest = read_lists(scan(target), lists, options, conventions)
    paths = {shard.path for shard in shards}
    other_files = (
        Rejection(path, FileCode.NOT_LISTED, "is no parquet file with images, so it was left out")
        for path in listing.files
        if path not in paths
    )
    return replace(
        manifest,
        rejected=(*listing.rejected, *manifest.rejected),
        ignored=(*listing.ignored, *other_files, *manifest.ignored),
    )


def _image_column(path: str, schema: pa.Schema) -> str:
    images: list[str] = [field.name for field in schema if _holds_images(field.type)]
    images = [column for column in images if is_called(column, "path")] or images
    if len(images) == 1:
        return images[0]
    if images:
        raise FormatError(
            ProblemCode.AMBIGUOUS_LIST,
            f"{path} has images in {columns_of(images)}: rename the one to train on to image",
        )
    raise FormatError(
        ProblemCode.BAD_LIST,
        f"{path} has {columns_of(schema.names)}, none of which has images: write them as structs of bytes "
        "and path, as the feature Image of Hugging Face's datasets does",
    )


def _holds_images(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        return False
    content = kind.field("bytes").type
    return bool(pa.types.is_binary(content) or pa.types.is_large_binary(content))


class _Writer:
    """Writes the images of one file after the other, each under a name of its own."""

    def __init__(self, target: Path, budget: Budget) -> None:
        self._target = target
        self._budget = budget
        self._names: set[str] = set()
        self._characters = 0

    def write(self, shard: Shard, path: Path) -> Table:
        """Write the images; returns the rows, with the path of each image in its place."""
        header = require_few_columns(tuple(shard.schema.names), path.name)
        scalars = [field.name for field in shard.schema if is_scalar(field.type)]
        folder = split_in(shard.path.removesuffix(_SUFFIX)) or "images"
        (self._target / folder).mkdir(parents=True, exist_ok=True)
        lines: list[Line] = []
        for number, record in enumerate(records(path, [shard.image, *scalars]), start=1):
            record[shard.image] = self._write_image(record[shard.image] or {}, folder)
            cells = tuple(cell_text(record[column]) if column in record else None for column in header)
            self._characters += sum(len(cell or "") for cell in cells)
            if self._characters > MAX_LIST:
                raise too_much_text(path)
            lines.append(Line(number, cells))
        return Table(path.name, header, lambda: iter(lines))

    def _write_image(self, image: Mapping[str, Any], folder: str) -> str:
        """The path below the target; of an image without bytes, the name it has, which no file has."""
        self._budget.entry()
        encoded, original = image.get("bytes"), str(image.get("path") or "")
        if not encoded:
            return original
        self._budget.spend(len(encoded))
        name = self._name(original, encoded, folder)
        (self._target / name).write_bytes(encoded)
        return name

    def _name(self, original: str, encoded: bytes, folder: str) -> str:
        """A name of its own: the original one where it can be had, with the suffix of what the bytes are."""
        pure = PurePosixPath(original.replace("\\", "/"))
        stem, suffix = pure.stem, pure.suffix
        number = f"{len(self._names):06d}"
        if not stem or len(stem) > _MAX_STEM or FORBIDDEN.search(pure.name):
            stem, suffix = number, ""
        suffix = _SUFFIX_OF.get(image_type(encoded), suffix)
        while (name := f"{folder}/{stem}{suffix}").casefold() in self._names:
            stem = f"{stem}-{number}"
        self._names.add(name.casefold())
        return name
