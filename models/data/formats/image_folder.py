"""`[split/]class/image`: the folder is the label. Deeper folders belong to their class."""

from __future__ import annotations

from models.data.formats.manifest import (
    DatasetFormat,
    Entry,
    FormatOptions,
    Listing,
    Manifest,
    is_image_name,
    natural_order,
    not_an_image_name,
)
from models.data.report import FileCode, Rejection
from models.data.splits import SPLITS, canonical_split


def matches(listing: Listing) -> bool:
    """Any image in any folder."""
    return any("/" in path and is_image_name(path) for path in listing.files)


def read(listing: Listing, options: FormatOptions) -> Manifest:
    """Every image of a class folder, and a rejection for everything else in one."""
    has_splits = bool(listing.top_folders) and all(
        canonical_split(top) and (listing.subfolders(top) or not _holds_images(listing, top))
        for top in listing.top_folders
    )
    depth = 1 if has_splits else 0
    folders = {parts[depth] for path in listing.folders if len(parts := path.split("/")) == depth + 1}
    split_paths = (path.split("/") for path in listing.files if is_image_name(path))
    class_names = natural_order(parts[depth] for parts in split_paths if len(parts) > depth + 1)
    classes = options.classes or class_names
    label_of = {name: label for label, name in enumerate(classes)}
    entries: list[Entry] = []
    rejected, ignored = list(listing.rejected), list(listing.ignored)
    for path in listing.files:
        parts = path.split("/")
        if rejection := _reject(path, depth, label_of, folders.difference(class_names)):
            (ignored if rejection.code is FileCode.NOT_LISTED else rejected).append(rejection)
        else:
            entries.append(
                Entry(path, label_of[parts[depth]], canonical_split(parts[0]) if has_splits else None)
            )
    splits = {canonical_split(top) for top in listing.top_folders} if has_splits else set()
    return Manifest(
        root=listing.root,
        format=DatasetFormat.IMAGE_FOLDER,
        entries=tuple(entries),
        classes=classes,
        splits=tuple(split for split in SPLITS if split in splits),
        rejected=tuple(rejected),
        ignored=tuple(ignored),
        empty_classes=natural_order(folders.difference(class_names)),
    )


def _holds_images(listing: Listing, folder: str) -> bool:
    return any(
        path.startswith(f"{folder}/") and path.count("/") == 1 and is_image_name(path)
        for path in listing.files
    )


def _reject(path: str, depth: int, label_of: dict[str, int], empty: set[str]) -> Rejection | None:
    parts = path.split("/")
    if len(parts) < depth + 2 or parts[depth] in empty:
        if is_image_name(path):
            return Rejection(
                path, FileCode.NO_CLASS, "is not in a class folder: move it into the folder of its class"
            )
        return Rejection(
            path, FileCode.NOT_LISTED, "is neither an image nor in a class folder, so it was left out"
        )
    if parts[depth] not in label_of:
        return Rejection(
            path, FileCode.UNKNOWN_LABEL, f"{parts[depth]!r} is not in the class list: correct one of the two"
        )
    if not is_image_name(path):
        return not_an_image_name(path)
    return None
