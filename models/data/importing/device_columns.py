"""What took the pictures, as columns of metadata: manufacturer, model, station and view of DICOM headers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from models.data.formats.lists.headings import MAX_METADATA
from models.data.formats.lists.metadata_columns import reason_to_leave_out
from models.data.images.checks import CheckedImage
from models.data.images.dicom import DEVICE_TAGS
from models.data.report import ColumnReading


class DeviceColumns(NamedTuple):
    """The cells (N,) of each column that travels, and what each tag that occurs was read as."""

    metadata: Mapping[str, list[str]]
    readings: Sequence[ColumnReading]


def device_columns(images: Sequence[CheckedImage], taken: Collection[str]) -> DeviceColumns:
    """Of `images` (N,), beside the columns of metadata `taken`, which a list names and which count first."""
    metadata, readings = dict[str, list[str]](), list[ColumnReading]()
    for place, (name, tag) in enumerate(DEVICE_TAGS.items()):
        cells = [image.device[place] if image.device else "" for image in images]
        if not any(cells):
            continue
        reason = reason_to_leave_out(cells)
        if name in taken:
            reason = f"the list has a column {name}"
        elif len(taken) + len(metadata) >= MAX_METADATA:
            reason = f"is beyond the first {MAX_METADATA} columns of metadata: remove others from the list"
        if reason:
            readings.append(ColumnReading(f"DICOM {tag}", "ignored", reason))
        else:
            metadata[name] = cells
            readings.append(ColumnReading(f"DICOM {tag}", "metadata", f"meta:{name}"))
    return DeviceColumns(metadata, readings)
