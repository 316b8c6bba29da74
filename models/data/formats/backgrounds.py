"""The Background Challenge (ImageNet-9): one tree per way of changing the background.

The release unpacks to `original/val/00_dog/x.JPEG`, `mixed_same/val/…`, `mixed_rand/val/…`,
`only_fg/val/…` and more, and the training images to `in9l/train/00_dog/…`, `in9l/val/…`
(or `original/train`). Each variant that shows the object becomes a group of `test`; the others
(`no_fg`, `only_bg_b`, `only_bg_t`) become splits of their own, without a group: a model that is right
there reads the background, so their accuracy belongs in no average and in no worst group. A variant is
read from its `test` folder where it has one, else its `val`, else the classes directly below it.
`train` and `val` come from `in9l`, else from `original`; they have no group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from models.data.formats.manifest import (
    DatasetFormat,
    Entry,
    FormatOptions,
    Listing,
    Manifest,
    is_image_name,
    natural_order,
)
from models.data.report import FileCode, Rejection
from models.data.splits import ALL_SPLITS, WITHOUT_OBJECT, canonical_split

WITH_OBJECT = ("original", "mixed_same", "mixed_rand", "mixed_next", "only_fg")
VARIANTS = WITH_OBJECT + WITHOUT_OBJECT
_TRAINING = ("in9l", "in9", "original")
_NEEDED_VARIANTS = 2  # one alone is an ordinary folder of images


class _Place(NamedTuple):
    """What the files below a folder are: their split, their group, and the folder's depth."""

    split: str
    group: int
    depth: int


def matches(listing: Listing) -> bool:
    """Two or more of the variants' folders."""
    return len(set(VARIANTS).intersection(listing.top_folders)) >= _NEEDED_VARIANTS


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """Every image below one of the places named above; the class is the folder below it."""
    places = _places(listing)
    candidates: list[tuple[str, str, _Place]] = []
    rejected, ignored = list(listing.rejected), list(listing.ignored)
    for path in listing.files:
        parts = path.split("/")
        place = places.get("/".join(parts[:2])) or places.get(parts[0])
        if place is None or len(parts) < place.depth + 2:
            detail = "is not in a folder that the Background Challenge uses, so it was left out"
            ignored.append(Rejection(path, FileCode.NOT_LISTED, detail))
        elif not is_image_name(path):
            detail = "does not have the name of an image: save it as JPEG, PNG, WebP, GIF, BMP or TIFF"
            rejected.append(Rejection(path, FileCode.UNSUPPORTED_TYPE, detail))
        else:
            candidates.append((path, parts[place.depth], place))
    classes = options.classes or natural_order(name for _, name, _ in candidates)
    label_of = {name: label for label, name in enumerate(classes)}
    entries: list[Entry] = []
    for path, name, place in candidates:
        if name in label_of:
            entries.append(Entry(path, label_of[name], place.split, place.group))
        else:
            detail = f"{name!r} is not in the class list: correct the folder or the list"
            rejected.append(Rejection(path, FileCode.UNKNOWN_LABEL, detail))
    splits = {place.split for place in places.values()}
    return Manifest(
        root=listing.root,
        format=DatasetFormat.BACKGROUNDS_CHALLENGE,
        entries=tuple(entries),
        classes=classes,
        group_names=_group_names(listing),
        splits=tuple(split for split in ALL_SPLITS if split in splits),
        rejected=tuple(rejected),
        ignored=tuple(ignored),
    )


def _group_names(listing: Listing) -> tuple[str, ...]:
    return tuple(name for name in WITH_OBJECT if name in listing.top_folders)


def _places(listing: Listing) -> Mapping[str, _Place]:
    """folder → what it holds; folders are `variant` or `variant/split`."""
    inside = {
        top: {split: name for name in listing.subfolders(top) if (split := canonical_split(name))}
        for top in listing.top_folders
        if top in VARIANTS or top in _TRAINING
    }
    places: dict[str, _Place] = {}
    groups = _group_names(listing)
    for variant in (name for name in VARIANTS if name in inside):
        group = groups.index(variant) if variant in groups else -1
        judged = variant if group < 0 else "test"
        splits = inside[variant]
        tested = splits.get("test") or splits.get("val")
        if tested:
            places[f"{variant}/{tested}"] = _Place(judged, group, 2)
        elif not splits:
            places[variant] = _Place(judged, group, 1)
    for split in ("train", "val"):
        source = next((top for top in _TRAINING if split in inside.get(top, {})), None)
        if source is not None:
            places.setdefault(f"{source}/{inside[source][split]}", _Place(split, -1, 2))
    return places
