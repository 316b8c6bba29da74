"""The splits that files name, left out so that the import cuts its own."""

from __future__ import annotations

from dataclasses import replace

from models.data.formats.manifest import FormatError, Manifest
from models.data.report import ProblemCode
from models.data.splits import WITHOUT_OBJECT


def without_splits(manifest: Manifest) -> Manifest:
    """The manifest as if no split had been named. Raises `FormatError` where images lost their object."""
    if lost := set(WITHOUT_OBJECT).intersection(manifest.splits):
        raise FormatError(
            ProblemCode.BAD_LIST,
            f"the images of {', '.join(sorted(lost))} lost their object and belong to no other split: leave "
            "out new_splits",
        )
    return replace(
        manifest,
        entries=tuple(entry._replace(split=None) for entry in manifest.entries),
        splits=(),
        columns=tuple(
            reading._replace(read_as="ignored", detail="new splits were asked for")
            if reading.read_as == "split"
            else reading
            for reading in manifest.columns
        ),
    )
