"""What annotation tools write: images by name, each with its classes, as a manifest of the uploaded files."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from models.data.archives.guards import FORBIDDEN, quoted
from models.data.formats.lists.headings import (
    MAX_TEXT,
    METADATA,
    display_name,
    fault_of_metadata,
    how_to_keep,
    is_called,
    is_prefixed,
    reason_to_leave_out,
)
from models.data.formats.lists.rows import cell_text, require_few_columns
from models.data.formats.manifest import (
    DatasetFormat,
    Entry,
    FormatError,
    FormatOptions,
    Listing,
    Manifest,
    natural_order,
    open_list,
)
from models.data.formats.matching import ImageFiles
from models.data.report import ColumnReading, FileCode, ProblemCode, Rejection
from models.data.splits import SPLITS, canonical_split

MAX_BYTES = 64 << 20
"""Of a list that is read whole, since it takes up to twenty times as much memory."""
_EXAMPLES = 3


class AnnotatedImage(NamedTuple):
    """An image as a list has it.
    `place` says where it stands there, `split` is empty if there is none, and `fields` are what else is said
    of it, as text."""

    place: str
    name: str
    labels: Sequence[str]
    split: str
    fields: Mapping[str, str]


@dataclass
class Annotations:
    """What the `lists` of an upload say: their images, their classes in order, what was read as what."""

    lists: Sequence[str]
    images: list[AnnotatedImage] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    columns: dict[str, ColumnReading] = field(default_factory=dict)
    rejected: list[Rejection] = field(default_factory=list)

    @classmethod
    def of(cls, lists: Sequence[str], *columns: ColumnReading, missing: str) -> Self:
        """Of `lists`, with these readings of columns; `FormatError` with what is `missing` without any."""
        if not lists:
            raise FormatError(ProblemCode.BAD_LIST, missing)
        annotations = cls(lists)
        annotations.note(*columns)
        return annotations

    def note(self, *columns: ColumnReading) -> None:
        """Say once what a column was read as, however many images have it."""
        for reading in columns:
            self.columns.setdefault(reading.column, reading)

    def fields_of(self, record: Mapping[str, Any]) -> dict[str, str]:
        """The texts and numbers of a JSON object, without the fields whose use was noted."""
        fields: dict[str, str] = {}
        for name, content in record.items():
            if name in self.columns:
                continue
            text = as_text(content)
            if text is None:
                detail = "is neither a text nor a number, so it was left out"
                self.note(ColumnReading(name, "ignored", detail))
            else:
                fields[name] = text
        return fields


def is_json_with(keys: Iterable[bytes], path: Path, *, start: bytes) -> bool:
    """Whether a file starts as a JSON list or object does, and all of the quoted `keys` stand in it."""
    with path.open("rb") as file:
        if not file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(start):
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(key) >= 0 for key in keys)


def read_json(path: Path) -> Any:
    """The contents of a JSON file. Raises `FormatError` for one that is too large, too deep or not JSON."""
    try:
        with open_list(path, most=MAX_BYTES) as file:
            return json.load(file)
    except RecursionError as error:
        raise FormatError(
            ProblemCode.BAD_LIST, f"{path.name} is nested too deeply: export it again"
        ) from error
    except ValueError as error:
        raise FormatError(
            ProblemCode.BAD_LIST, f"{path.name} is not JSON in UTF-8: export it again ({error})"
        ) from error


def as_text(content: object) -> str | None:
    """A text, number or truth value of JSON as one line; None for a list or an object, empty for null."""
    text = cell_text(content)
    return None if text is None else " ".join(text.split())


def manifest(
    listing: Listing, options: FormatOptions, format: DatasetFormat, annotations: Annotations
) -> Manifest:
    """An entry for every image that has one class and a file. Raises `FormatError` if none has a file."""
    rejected = [*listing.rejected, *annotations.rejected]
    rows = list(_rows(listing, annotations, rejected))
    if any(image.split for _, image in rows):
        rows = [(path, image) for path, image in rows if _has_split(path, image.split, rejected)]
    labels = {image.labels[0] for _, image in rows}
    ordered = [name for name in annotations.classes if name in labels]
    classes = options.classes or (*ordered, *natural_order(labels.difference(ordered)))
    label_of = {name: label for label, name in enumerate(classes)}
    subject, metadata = _columns(annotations)
    entries: list[Entry] = []
    for path, image in rows:
        (name,) = image.labels
        if name not in label_of:
            detail = f"{name!r} is not in the class list: correct one of the two"
            rejected.append(Rejection(path, FileCode.UNKNOWN_LABEL, detail))
            continue
        split = canonical_split(image.split) if image.split else None
        cells = tuple(image.fields.get(field, "") for field in metadata.values())
        entries.append(
            Entry(path, label_of[name], split, subject=image.fields.get(subject) or None, metadata=cells)
        )
    splits = {entry.split for entry in entries}
    listed = [*annotations.lists, *(path for path, _ in rows), *(rejection.path for rejection in rejected)]
    return Manifest(
        root=listing.root,
        format=format,
        entries=tuple(entries),
        classes=classes,
        splits=tuple(split for split in SPLITS if split in splits),
        rejected=tuple(rejected),
        ignored=listing.ignored + listing.unlisted(listed),
        empty_classes=tuple(name for name in annotations.classes if name not in label_of),
        metadata_names=tuple(metadata),
        columns=tuple(annotations.columns.values()),
    )


def _rows(
    listing: Listing, annotations: Annotations, rejected: list[Rejection]
) -> Iterator[tuple[str, AnnotatedImage]]:
    """The images that have one class, each with the path of its file."""
    files = ImageFiles(listing, (image.name for image in annotations.images))
    paths: set[str] = set()
    missing: list[str] = []
    for image in annotations.images:
        candidates = files.find(image.name, image.split)
        path = candidates[0] if candidates else image.name or annotations.lists[0]
        if not image.name:
            code, detail = FileCode.BAD_PATH, "has no file name: add it"
        elif len(candidates) > 1:
            some = ", ".join(candidates[:_EXAMPLES])
            code, detail = FileCode.BAD_PATH, f"could be any of {some}: give its folder too"
        elif not candidates:
            missing.append(image.name)
            code, detail = (
                FileCode.MISSING_FILE,
                "names a file that is missing: upload it, or remove the entry",
            )
        elif path in paths:
            code, detail = FileCode.LISTED_TWICE, "names the file a second time: remove one of the two"
        elif not image.labels or "" in image.labels:
            code = FileCode.MISSING_LABEL
            detail = "has no class, or one without a name: annotate it, or remove it"
        elif len(image.labels) > 1:
            code, detail = FileCode.SEVERAL_LABELS, _several(image.labels)
        elif FORBIDDEN.search("".join((*image.labels, *image.fields.values()))):
            code, detail = FileCode.BAD_ROW, "has control characters in its class or its fields: remove them"
        else:
            paths.add(path)
            yield path, image
            continue
        rejected.append(Rejection(path, code, f"{image.place} {detail}"))
    if missing and len(missing) == len(annotations.images):
        raise _no_file(annotations.lists, missing)


def _several(labels: Sequence[str]) -> str:
    some = ", ".join(map(repr, labels[:_EXAMPLES])) + (" …" if len(labels) > _EXAMPLES else "")
    return (
        f"has several classes ({some}), and a sample has one: keep one in the list, or add a labels.csv "
        "with the columns path and label, which then counts instead"
    )


def _no_file(lists: Sequence[str], names: Sequence[str]) -> FormatError:
    some = ", ".join(map(quoted, names[:_EXAMPLES])) + (" …" if len(names) > _EXAMPLES else "")
    count = f"{len(names)} images, none of which was" if len(names) > 1 else "one image, which was not"
    return FormatError(
        ProblemCode.BAD_LIST,
        f"{', '.join(lists[:_EXAMPLES])} names {count} uploaded ({some}): put the images beside it",
    )


def _has_split(path: str, split: str, rejected: list[Rejection]) -> bool:
    if not split:
        detail = "has no split although other images have one: add it, or leave out all splits"
        rejected.append(Rejection(path, FileCode.MISSING_SPLIT, detail))
        return False
    if canonical_split(split) is None:
        detail = f"has the split {split!r}: use one of {', '.join(SPLITS)}"
        rejected.append(Rejection(path, FileCode.UNKNOWN_SPLIT, detail))
        return False
    return True


def _columns(annotations: Annotations) -> tuple[str, dict[str, str]]:
    """The field that names the subject, empty without one, and by their names those that are metadata."""
    names = dict.fromkeys(name for image in annotations.images for name in image.fields)
    require_few_columns(tuple(names), annotations.lists[0])
    subject = next((name for name in names if is_called(name, "subject")), "")
    metadata: dict[str, str] = {}
    for name in names:
        title = name.removeprefix(METADATA).strip()
        fault = fault_of_metadata(title, metadata) if title else "has no name: give it one"
        cells = [image.fields.get(name, "") for image in annotations.images]
        if any(len(cell) > MAX_TEXT for cell in cells):
            fault = f"holds texts of more than {MAX_TEXT} characters: shorten them"
        if not is_prefixed(name):
            fault = fault or reason_to_leave_out(cells, how_to_keep(name))
        if name == subject:
            reading = ColumnReading(name, "subject")
        elif fault:
            reading = ColumnReading(display_name(name), "ignored", fault)
        else:
            metadata[title] = name
            reading = ColumnReading(display_name(name), "metadata")
        annotations.note(reading)
    return subject, metadata
