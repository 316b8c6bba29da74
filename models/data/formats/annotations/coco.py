"""COCO: JSON with `images`, `annotations` and `categories`; the class of an image is that of its annotations.

Read are `.json` files at the top, in `annotations/` (of which, as published, only `instances_….json` are
lists of objects), and `_annotations.coco.json` in the folder of a split. A word in the name of the file, or
of its folder, is the split: `instances_train2017.json`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from models.data.formats.annotations.manifests import (
    AnnotatedImage,
    Annotations,
    as_text,
    is_json_with,
    manifest,
    read_json,
)
from models.data.formats.manifest import DatasetFormat, FormatError, FormatOptions, Listing, Manifest
from models.data.formats.matching import split_in
from models.data.report import ColumnReading, FileCode, ProblemCode, Rejection

_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_IN_SPLIT_FOLDERS = "_annotations.coco.json"
_OBJECTS = "instances"
_COLUMNS = (
    ColumnReading("file_name", "path"),
    ColumnReading("category_id", "label", "the one category of all annotations of the image"),
    ColumnReading("id", "ignored", "numbers the images within the file"),
    ColumnReading("width", "ignored", "is read from the image itself"),
    ColumnReading("height", "ignored", "is read from the image itself"),
)


def matches(listing: Listing) -> bool:
    """A JSON file that has the three lists."""
    return bool(_lists(listing))


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """An image is one of the lists' `images`; classes are in the order of the categories' ids."""
    missing = (
        "there is no JSON file with images, annotations and categories at the top or in annotations/: add it"
    )
    annotations = Annotations.of(_lists(listing), *_COLUMNS, missing=missing)
    order: dict[str, tuple[bool, Any]] = {}
    for path in annotations.lists:
        names = _add_images(annotations, listing.root / path, path)
        for category, name in names.items():
            # numbers first, in their order
            order.setdefault(name, (isinstance(category, str), category))
    annotations.classes = sorted(order, key=order.__getitem__)
    return manifest(listing, options, DatasetFormat.COCO, annotations)


def _add_images(annotations: Annotations, file: Path, path: str) -> dict[int | float | str, str]:
    """Add the images of a file, and return the names of its categories by their id."""
    document = read_json(file)
    names = {
        category: name
        for record in _records(document, "categories", path)
        if (category := _id(record, "id")) is not None and (name := as_text(record.get("name")))
    }
    labels: dict[Any, dict[str, None]] = defaultdict(dict)
    for record in _records(document, "annotations", path):
        category = _id(record, "category_id")
        labels[_id(record, "image_id")]["" if category is None else names.get(category, "")] = None
    split = split_in(path)
    for record in _records(document, "images", path):
        number = _id(record, "id")
        annotations.images.append(
            AnnotatedImage(
                place=f"image {number} of {path}",
                name=as_text(record.get("file_name")) or "",
                labels=tuple(labels.pop(number, ())),
                split=split,
                fields=annotations.fields_of(record),
            )
        )
    annotations.rejected += [
        Rejection(
            path, FileCode.BAD_ROW, f"annotations name the image {number}, which is not in images: add it"
        )
        for number in labels
    ]
    return names


def _lists(listing: Listing) -> list[str]:
    places = [
        path
        for path in listing.files
        if path.lower().endswith(".json")
        and (
            "/" not in path
            or str(PurePosixPath(path).parent) == "annotations"
            or (path.count("/") == 1 and path.endswith(f"/{_IN_SPLIT_FOLDERS}"))
        )
    ]
    lists = [path for path in places if is_json_with(_KEYS, listing.root / path, start=b"{")]
    objects = [path for path in lists if PurePosixPath(path).name.startswith(_OBJECTS)]
    return objects or lists


def _records(document: Any, key: str, path: str) -> list[Mapping[str, Any]]:
    records = document.get(key) if isinstance(document, dict) else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise FormatError(
            ProblemCode.BAD_LIST, f"{path} has no list {key!r} of objects: export it as COCO again"
        )
    return records


def _id(record: Mapping[str, Any], key: str) -> int | float | str | None:
    number = record.get(key)
    return number if isinstance(number, int | float | str) else None
