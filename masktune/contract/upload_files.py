"""Which files cannot be a data set: by the names in a folder, by the first bytes of a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

IMAGES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".heic", ".heif", ".hif", ".dcm", ".dicom"),
)
TABLES = (".csv", ".txt", ".tsv", ".xlsx", ".json", ".jsonl", ".parquet", ".xml")
HEAD = 512
"""First bytes of a file by which `file_refusal` knows it."""

LAYOUT = (
    "send a folder, or an archive of it (zip, tar, tar.gz, tar.zst), that has a folder of images for each "
    "class, or a table beside its images"
)
WITHOUT_IMAGES = f"holds neither images nor a table of them: {LAYOUT}"
LOOSE_IMAGES = (
    f"holds images side by side, and nothing says of which class they are: {LAYOUT}; without labels, as the "
    "format unlabelled, they can only be predicted"
)

_KINDS = (
    (rb"PK\x03\x04.{26}(\[Content_Types\]|_rels/|docProps/|mimetype)|\xd0\xcf\x11\xe0", "an office document"),
    (rb"PK\x03\x04|PK\x05\x06|\x1f\x8b|\x28\xb5\x2f\xfd|.{257}ustar", ""),
    (rb"%PDF", "a PDF document"),
    (rb"\xff\xd8\xff|\x89PNG|GIF8|BM|II\*\x00|MM\x00\*|RIFF....WEBP", "a single image"),
    (rb"....ftyp|.{128}DICM", "a single image"),
)
"""What a file is that starts like this; archives have no name here."""


def file_refusal(head: bytes, *, labelled: bool = True) -> str:
    """Why a file that starts with these bytes is no archive of images, after its name; empty if it is one, or
    may be a table of paths to images that are not `labelled`."""
    unknown = "not an archive" if labelled else ""
    what = next((what for start, what in _KINDS if re.match(start, head, re.DOTALL)), unknown)
    return f"is {what}: {LAYOUT}" if what else ""


def folder_refusal(paths: Iterable[str], *, labelled: bool = True) -> str:
    """Why a folder with these files is no data set, after its name; empty where it may be one."""
    files = [PurePosixPath(path) for path in paths]
    images, tables = ([file for file in files if file.suffix.lower() in ends] for ends in (IMAGES, TABLES))
    if tables or any(len(file.parts) > 1 for file in images):
        return ""
    if images:
        return LOOSE_IMAGES if labelled else ""
    return WITHOUT_IMAGES
