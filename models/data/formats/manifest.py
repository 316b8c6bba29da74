"""What a format makes of a folder: entries with their labels, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from models.data.report import ImportRefused, Rejection


class FormatName(StrEnum):
    """The layouts of uploaded data."""

    IMAGE_FOLDER = "image_folder"  # [split/]class/image
    CSV = "csv"  # one CSV with path,label[,split][,group]
    WATERBIRDS = "waterbirds"  # metadata.csv with img_filename, y, split, place
    CELEBA = "celeba"  # list_attr_celeba, list_eval_partition, img_align_celeba
    BACKGROUNDS_CHALLENGE = "backgrounds_challenge"  # original, mixed_same, mixed_rand, only_fg … trees


class FormatError(ImportRefused):
    """A folder that cannot be read in the format at all."""


@dataclass(frozen=True)
class FormatOptions:
    """What the owner may decide. `classes` fixes the list and its order: other labels are rejected.

    `target` and `group` are attributes of CelebA.
    """

    classes: tuple[str, ...] | None = None
    target: str = "Blond_Hair"
    group: str = "Male"


class Entry(NamedTuple):
    """An image to be checked: path below `Manifest.root`, class, split (None: to make), group (-1: none)."""

    path: str
    label: int
    split: str | None = None
    group: int = -1


@dataclass(frozen=True)
class Manifest:
    """All images to import. `splits` names the splits that were given, those without an image included.

    `format` is a `FormatName` or `builtin:NAME`. `empty_classes` are folders that stand where classes do and
    hold no image.
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


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names sorted, runs of digits by their value: 2 before 10."""

    def key(name: str) -> list[tuple[int, int, str]]:
        parts = re.findall(r"[0-9]+|[^0-9]+", name)
        return [(0, int(part), part) if "0" <= part[0] <= "9" else (1, 0, part) for part in parts]

    return tuple(sorted(set(names), key=key))
