"""The images that an import packs, with what is known of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.data.formats import Manifest
from models.data.formats.entries import Entries, Texts
from models.data.formats.lists.headings import MAX_METADATA, reason_to_leave_out
from models.data.formats.owner_options import whole_in_test
from models.data.images.dicom import DEVICE_TAGS, Header
from models.data.report import ColumnReading


class _DeviceColumns(NamedTuple):
    """The cells (N,) of each column that travels, and what each tag that occurs was read as."""

    metadata: Mapping[str, list[str]]
    readings: Sequence[ColumnReading]


def _device_columns(headers: Mapping[int, Header], count: int, taken: Collection[str]) -> _DeviceColumns:
    """Of `count` images, beside the columns of metadata `taken`, which a list names and which count first."""
    metadata, readings = dict[str, list[str]](), list[ColumnReading]()
    for place, (name, tag) in enumerate(DEVICE_TAGS.items()):
        cells = [""] * count
        for row, header in headers.items():
            if header.device:
                cells[row] = header.device[place]
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
    return _DeviceColumns(metadata, readings)


_PATIENT = "DICOM PatientID"


@dataclass(frozen=True)
class AcceptedImages:
    """The images that will be packed, in row order: their `facts` (N,), as in `parts.FACTS`, and by row what
    DICOM headers say."""

    manifest: Manifest
    facts: NDArray[np.void]
    headers: Mapping[int, Header]

    def __len__(self) -> int:
        return len(self.facts)

    @cached_property
    def entries(self) -> Entries:
        """The entry of each row. Where none names a subject, it is the patient of a DICOM header."""
        entries = Entries.of(self.manifest.entries)
        if len(self) < len(entries):
            entries = entries.take(self.facts["number"])
        if self._patients.read_as != "subject":
            return entries
        patients = {row: header.subject for row, header in self.headers.items()}
        entries = replace(entries, subjects=Texts.of(map(patients.get, range(len(entries)))))
        return Entries.of(whole_in_test(entries)) if self.manifest.hold_out else entries

    @property
    def columns(self) -> tuple[ColumnReading, ...]:
        """What each column of a list was read as, and the patients and devices of DICOM headers."""
        patients = any(header.subject for header in self.headers.values())
        headers = (*([self._patients] if patients else ()), *self._devices.readings)
        return (*self.manifest.columns, *headers)

    @cached_property
    def _devices(self) -> _DeviceColumns:
        return _device_columns(self.headers, len(self), self.manifest.metadata_names)

    @cached_property
    def _patients(self) -> ColumnReading:
        """One id in all files, as in many sets without names, tells no patients apart."""
        if any(Entries.of(self.manifest.entries).subjects.values):
            return ColumnReading(_PATIENT, "ignored", "the subjects are named elsewhere")
        if len({header.subject for header in self.headers.values() if header.subject}) < 2:
            return ColumnReading(_PATIENT, "ignored", "is one and the same in all files")
        return ColumnReading(_PATIENT, "subject")

    @property
    def metadata(self) -> dict[str, list[str]]:
        """The cells of each column of metadata, in row order."""
        columns = zip(self.manifest.metadata_names, self.entries.metadata, strict=True)
        listed = {name: [cell or "" for cell in column.cells()] for name, column in columns}
        return listed | dict(self._devices.metadata)

    @cached_property
    def twins(self) -> NDArray[np.int32]:
        """(N,), equal where the pixels are equal: numbers from 0 in the order of their first images."""
        hashes = np.ascontiguousarray(self.facts["pixel_hash"]).view(np.uint64).reshape(len(self), -1)
        order = np.lexsort(hashes.T)  # a hash table of millions takes three times the memory
        differs = np.arange(len(self)) == 0  # from the one before it in this order
        for part in hashes.T:
            ordered = part[order]
            differs[1:] |= ordered[1:] != ordered[:-1]
        firsts, numbers = order[differs], np.empty(len(self), np.int32)
        by_order = np.empty(len(firsts), np.int32)
        by_order[np.argsort(firsts)] = np.arange(len(firsts))
        numbers[order] = by_order[np.cumsum(differs) - 1]
        return numbers
