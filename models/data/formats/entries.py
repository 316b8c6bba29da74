"""The entries of a manifest in columns: tens of bytes each, an `Entry` takes 200. There may be millions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self, overload

import numpy as np
from numpy.typing import NDArray

from models.data.formats.manifest import Entry


@dataclass(frozen=True)
class Texts:
    """A column of texts that repeat: `codes` (N,) are numbers in `values`, −1 for none."""

    codes: NDArray[np.int32]
    values: tuple[str, ...]

    @classmethod
    def of(cls, cells: Iterable[str | None]) -> Self:
        """Of the cells (N,) of a column."""
        numbers: dict[str | None, int] = {None: -1}
        codes = [numbers.setdefault(cell, len(numbers) - 1) for cell in cells]
        return cls(np.array(codes, np.int32), tuple(cell for cell in numbers if cell is not None))

    def cells(self) -> list[str | None]:
        """(N,)"""
        names = (*self.values, None)
        return [names[code] for code in self.codes.tolist()]

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The cells of these rows; `values` are those that occur, in the order of their first cells."""
        codes = self.codes[rows]
        occurring, firsts = np.unique(codes, return_index=True)
        occurring = occurring[np.argsort(firsts)]
        occurring = occurring[occurring >= 0]
        numbers = np.full(len(self.values) + 1, -1, np.int32)
        numbers[occurring] = np.arange(len(occurring))
        return type(self)(numbers[codes], tuple(self.values[code] for code in occurring))


@dataclass(frozen=True, eq=False)
class Entries(Sequence[Entry]):
    """Entries (N,): `paths` are texts in UTF-8, that of a row from its `starts` to its `ends`."""

    paths: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    labels: NDArray[np.int32]
    groups: NDArray[np.int32]
    splits: Texts
    subjects: Texts
    metadata: tuple[Texts, ...]

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Self:
        """The same entries."""
        if isinstance(entries, cls):
            return entries
        paths = [entry.path.encode() for entry in entries]
        ends = np.cumsum([0, *map(len, paths)])
        return cls(
            paths=b"".join(paths),
            starts=ends[:-1],
            ends=ends[1:],
            labels=np.array([entry.label for entry in entries], np.int32),
            groups=np.array([entry.group for entry in entries], np.int32),
            splits=Texts.of(entry.split for entry in entries),
            subjects=Texts.of(entry.subject for entry in entries),
            metadata=tuple(
                Texts.of(entry.metadata[place] for entry in entries)
                for place in range(len(entries[0].metadata) if entries else 0)
            ),
        )

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, row: int) -> Entry: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Entry]: ...
    def __getitem__(self, row: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        columns = (self.splits, self.subjects, *self.metadata)
        split, subject, *cells = ((*column.values, None)[column.codes[row]] for column in columns)
        metadata = tuple(cell or "" for cell in cells)
        return Entry(self.path(row), int(self.labels[row]), split, int(self.groups[row]), subject, metadata)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.__getitem__, range(len(self)))

    def path(self, row: int) -> str:
        """That of one entry."""
        return self.paths[self.starts[row] : self.ends[row]].decode()

    def take(self, rows: NDArray[np.int64]) -> Self:
        """The entries of these rows."""
        return replace(
            self,
            starts=self.starts[rows],
            ends=self.ends[rows],
            labels=self.labels[rows],
            groups=self.groups[rows],
            splits=self.splits.take(rows),
            subjects=self.subjects.take(rows),
            metadata=tuple(column.take(rows) for column in self.metadata),
        )
