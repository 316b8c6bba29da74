"""What a format makes of a folder: entries with their labels, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

from models.data.grey import GreyWindow
from models.data.report import ColumnReading, ImportRefused, Rejection


class FormatName(StrEnum):
    """The layouts of uploaded data."""

    IMAGE_FOLDER = "image_folder"  # [split/]class/image
    CSV = "csv"  # one list with path, label[, split][, group]…, as text or in a workbook
    WATERBIRDS = "waterbirds"  # metadata.csv with img_filename, y, split, place
    CELEBA = "celeba"  # list_attr_celeba, list_eval_partition, img_align_celeba
    COCO = "coco"  # JSON with images, annotations and categories
    CVAT = "cvat"  # XML of "CVAT for images 1.1", with tags
    LABEL_STUDIO = "label_studio"  # a JSON or JSON-MIN export, with choices
    HUGGING_FACE = "hugging_face"  # metadata.csv, .jsonl or .parquet with file_name; parquet with the images
    BACKGROUNDS_CHALLENGE = "backgrounds_challenge"  # original, mixed_same, mixed_rand, only_fg … trees


class FormatError(ImportRefused):
    """A folder that cannot be read in the format at all."""


@dataclass(frozen=True)
class FormatOptions:
    """What the owner may decide. `classes` fixes the list and its order: other labels are rejected.

    `target` and `group` are attributes of CelebA; `group` may also be the column `meta:NAME` of a list, and
    `label` is the column that holds the classes (in Label Studio: the question that asks for them).
    `subject` is a pattern on the path, like `*/{subject}_*`; `hold_out`, each `meta:NAME=VALUE`, names the
    samples of the test split. `new_splits` ignores those that the files name; `split` is that of all images,
    whatever the files say.
    """

    classes: tuple[str, ...] | None = None
    target: str = "Blond_Hair"
    group: str | None = None
    label: str | None = None
    subject: str | None = None
    hold_out: tuple[str, ...] = ()
    new_splits: bool = False
    split: Literal["test"] | None = None


class Entry(NamedTuple):
    """An image to be checked: path below `Manifest.root`, class, split (None: to make), group (-1: none).

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
    """All images to import. `splits` names the splits that were given, those without an image included.

    `format` is a `FormatName` or `builtin:NAME`. `empty_classes` are folders that stand where classes do and
    hold no image. `columns` says of each column of a list what it was read as. `hold_out` are the conditions
    that made the test split; `grey_window` is the one that a list brings along.
    """

    root: Path
    format: str
    entries: tuple[Entry, ...]
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


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names sorted, runs of digits by their value: 2 before 10."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.findall(r"[0-9]+|[^0-9]+", name)
        return [(0, int(part), part) if "0" <= part[0] <= "9" else (1, 0, part) for part in parts]

    return tuple(sorted(set(names), key=key))
