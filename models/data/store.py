"""The packed store: a folder with every image of a data set in one memory-mapped Arrow file.

`samples.arrow` is an uncompressed Arrow IPC file (Feather v2) with one row per sample and each image
as it was uploaded. It can be opened without this project in two lines:

    import pyarrow.feather
    table = pyarrow.feather.read_table("samples.arrow", memory_map=True)   # table["image"][0].as_py() → bytes

or `pandas.read_feather("samples.arrow", columns=["path", "label", "split", "group"])`.
Beside it are `dataset.json` (names, counts, how the splits were made) and, if all images have one
size of at most 64 px and 8 bits, `pixels.npy` (N, H, W, 3) uint8 RGB. This module does not import torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.data.clusters import connected_samples, one_of_each
from models.data.columns import Columns
from models.data.grey import GreyWindow
from models.data.layout import DatasetInfo, read_column, read_copies, read_pixels, read_store, split_codes
from models.data.splits import ALL_SPLITS, NO_SPLIT, SPLIT_NAMES, SPLITS


class Sample(NamedTuple):
    """One row without its image.
    `row` is the sample's id; sizes are upright pixels; `sha256` is hex. Without a class, `label` is -1 and
    `split` is empty."""

    row: int
    path: str
    label: int
    split: str
    group: int | None
    width: int
    height: int
    sha256: str
    subject: str | None
    metadata: Mapping[str, float | str | None]


class Store:
    """A packed data set, read-only.
    Opening reads the small columns; images stay on disk until requested.

    It can be passed to other processes: it is pickled as its path and reopened there.
    """

    def __init__(self, directory: Path, info: DatasetInfo, table: pa.Table, columns: Columns) -> None:
        self.directory = directory
        self.info = info
        self.classes = info.classes
        self.group_names = info.group_names
        self._table = table
        self.labels: NDArray[np.int64] = read_column(table, "label")  # (N,), -1: none
        self.groups: NDArray[np.int64] = read_column(table, "group")  # (N,), -1: none
        self.splits: NDArray[np.int64] = split_codes(table)  # (N,), index into SPLIT_NAMES
        self._columns = columns
        self.subjects = columns.subjects  # (N,), -1: none
        self.subject_names = columns.subject_names
        self.metadata = columns.metadata
        self._as_test: tuple[tuple[str, ...], NDArray[np.int64]] | None = None
        self._inferred: tuple[tuple[str, ...], NDArray[np.int64]] | None = None

    @classmethod
    def open(cls, directory: Path | str) -> Self:
        """Open the store in `directory`. Raises `StoreError` if there is no complete one."""
        directory = Path(directory)
        return cls(directory, *read_store(directory))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._reopened, (self.directory, self.info.grey_window, self._as_test, self._inferred)

    @classmethod
    def _reopened(
        cls,
        directory: Path,
        window: GreyWindow | None,
        as_test: tuple[tuple[str, ...], NDArray[np.int64]] | None,
        inferred: tuple[tuple[str, ...], NDArray[np.int64]] | None,
    ) -> Self:
        store = cls.open(directory).with_window(window)
        store = store if as_test is None else store.as_test(*as_test)
        return store if inferred is None else store.with_groups(*inferred)

    def with_window(self, window: GreyWindow | None) -> Self:
        """The same data set, its 16-bit grey images seen through another window: that of a model."""
        if window == self.info.grey_window:
            return self
        info = dataclasses.replace(self.info, grey_window=window)
        other = type(self)(self.directory, info, self._table, self._columns)
        other.__dict__["pixels"] = None  # they were decoded through the window of the data set
        return other

    def with_groups(self, names: tuple[str, ...], groups: NDArray[np.int64]) -> Self:
        """The same images with these groups (N,), −1 for none, in place of the data set's own."""
        other = type(self)(self.directory, self.info, self._table, self._columns)
        other.__dict__["pixels"] = self.pixels
        other.group_names, other.groups = names, groups
        other._inferred = names, groups
        return other

    def as_test(self, classes: tuple[str, ...], left_out: NDArray[np.int64]) -> Self:
        """The same images under the numbers of these classes, which those of the data set are among, as test
        images, but for the rows `left_out` and those without an object, which are in no split."""
        info = dataclasses.replace(self.info, classes=classes)
        other = type(self)(self.directory, info, self._table, self._columns)
        other.__dict__["pixels"] = self.pixels
        other.labels = np.array([classes.index(name) for name in self.classes])[self.labels]
        test, no_split = SPLIT_NAMES.index("test"), SPLIT_NAMES.index(NO_SPLIT)
        other.splits = np.where(self.splits < len(SPLITS), test, no_split)
        other.splits[left_out] = no_split
        other._as_test = classes, left_out
        return other

    @property
    def counts(self) -> dict[str, int]:
        """Samples in each split of `SPLITS`, including zeros, and in every other split that has any."""
        counts = np.bincount(self.splits, minlength=len(ALL_SPLITS)).tolist()[: len(ALL_SPLITS)]
        return {split: n for split, n in zip(ALL_SPLITS, counts, strict=True) if n or split in SPLITS}

    @property
    def labelled(self) -> bool:
        """Whether the samples have labels; if not, they are in no split either."""
        return bool(self.classes)

    @property
    def has_groups(self) -> bool:
        """Whether any sample has a group."""
        return bool((self.groups >= 0).any())

    @property
    def has_subjects(self) -> bool:
        """Whether any sample has a subject."""
        return bool(self.subject_names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the files, labels and splits of all samples in row order, and of the window of 16-bit
        images, the subjects and the metadata where there are any, in hexadecimal."""
        digest = hashlib.sha256(b"".join(self._table["sha256"].to_pylist()))
        for column in (self.labels, self.splits):
            digest.update(column.data)
        if self.info.grey_window is not None:
            digest.update(np.array(self.info.grey_window, "<i8").data)
        digest.update(self._columns.digest())
        return digest.hexdigest()

    @property
    def images_digest(self) -> str:
        """SHA-256 of the digests of all files in ascending order, in hexadecimal."""
        return hashlib.sha256(b"".join(sorted(self._table["sha256"].to_pylist()))).hexdigest()

    def rows(
        self, split: str | None = None, label: int | None = None, group: int | None = None
    ) -> NDArray[np.int64]:
        """Ascending row numbers of the samples that meet every condition. ValueError for an unknown split."""
        keep = np.ones(len(self), dtype=bool)
        if split is not None:
            if split not in ALL_SPLITS:
                raise ValueError(f"there is no split {split!r}: use one of {', '.join(ALL_SPLITS)}")
            keep &= self.splits == ALL_SPLITS.index(split)
        if label is not None:
            keep &= self.labels == label
        if group is not None:
            keep &= self.groups == group
        return np.flatnonzero(keep)

    def containing(self, text: str) -> NDArray[np.bool_]:
        """(N,), true where the path, the subject or a text of the metadata contains this one, in any case."""
        import pyarrow.compute as pc  # only when needed: 35 ms

        matches = partial(pc.match_substring, pattern=text, ignore_case=True)
        contains: NDArray[np.bool_] = matches(self.paths).to_numpy()
        texts = [(self.subjects, self.subject_names)]
        texts += [(column.codes, column.texts) for column in self.metadata.values() if column.texts]
        for codes, names in texts:
            # The last entry stands for −1, a sample without one.
            hits = np.append(matches(pa.array(names, pa.string())).to_numpy(zero_copy_only=False), False)
            contains = contains | hits[codes]
        return contains

    def pictures(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,), equal where two of these rows show the same picture."""
        return self._pictures[rows]

    def clusters(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(N,), equal where two of these rows are not independent: they show one subject or one picture, or a
        chain of such pairs links them."""
        return self._clusters[rows]

    def firsts(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,), true for the first of these ascending rows with its picture; the others are copies.

        For statistics that assume independent samples: a copy is right or wrong together with its first.
        """
        is_first = np.zeros(len(rows), dtype=bool)
        is_first[np.unique(self._pictures[rows], return_index=True)[1]] = True
        return is_first

    def independent(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(N,), true for one picture of each subject in these ascending rows, drawn at random, and for every
        picture without a subject once. Copies and linked subjects count as in `clusters` and `firsts`.

        The draw is fixed by the rows: nobody can draw again until the figures please.
        """
        pictures = np.flatnonzero(self.firsts(rows))
        is_drawn = np.zeros(len(rows), dtype=bool)
        chosen_pictures = one_of_each(self._clusters[rows[pictures]], np.random.default_rng(0))
        is_drawn[pictures[chosen_pictures]] = True
        return is_drawn

    def calibration_rows(self) -> NDArray[np.int64]:
        """Ascending rows of the calibration split that a certificate may count: independent ones, of no
        picture or subject that is also in `train` or `val`, on which models were fitted or selected."""
        return self.independent_rows("calibration", apart_from=("train", "val"))

    def independent_rows(self, split: str, *, apart_from: Sequence[str] = ()) -> NDArray[np.int64]:
        """Ascending rows of a split: `independent` ones, of no picture or subject of these other splits."""
        rows = self.rows(split)
        for other in apart_from:
            rows = rows[~np.isin(self._clusters[rows], self._clusters[self.rows(other)])]
        return rows[self.independent(rows)]

    @cached_property
    def _pictures(self) -> NDArray[np.int64]:
        """(N,), equal for rows with the same picture according to the import's report, which every import
        leaves here; in a store without one, equal for equal files."""
        import pyarrow.compute as pc  # only when needed: 35 ms

        files = self._table["sha256"].combine_chunks().dictionary_encode().indices
        pictures: NDArray[np.int64] = files.to_numpy().astype(np.int64)
        sets = read_copies(self.directory)
        paths = pa.array([path for same in sets for path in same], pa.string())
        rows = pc.index_in(paths, value_set=self._table["path"]).fill_null(-1).to_numpy()
        of_set = np.repeat(np.arange(len(sets)), [len(same) for same in sets])
        pictures[rows[rows >= 0]] = len(self) + of_set[rows >= 0]
        return pictures

    @cached_property
    def _clusters(self) -> NDArray[np.int64]:
        if not self.has_subjects:
            return self._pictures
        return connected_samples(self._pictures, self.subjects)

    def sample(self, row: int) -> Sample:
        """Everything about one row except its image. Raises IndexError if there is no such row."""
        self._check(row)
        group = int(self.groups[row])
        return Sample(
            row=row,
            path=self._table["path"][row].as_py(),
            label=int(self.labels[row]),
            split=SPLIT_NAMES[self.splits[row]],
            group=None if group < 0 else group,
            width=self._table["width"][row].as_py(),
            height=self._table["height"][row].as_py(),
            sha256=self._table["sha256"][row].as_py().hex(),
            subject=None if self.subjects[row] < 0 else self.subject_names[self.subjects[row]],
            metadata={name: column.value(row) for name, column in self.metadata.items()},
        )

    def image_bytes(self, row: int) -> bytes:
        """The encoded file as it was uploaded. Raises IndexError if there is no such row."""
        self._check(row)
        return bytes(self._table["image"][row].as_py())

    def image_head(self, row: int) -> bytes:
        """The first bytes of the file, enough to tell its type; others are not read, which may be many."""
        import pyarrow.compute as pc  # only when needed: 35 ms

        return bytes(pc.binary_slice(self._table["image"].slice(row, 1), 0, 32)[0].as_py())

    def files(self) -> Iterator[tuple[str, bytes]]:
        """The path and the encoded file of each sample in row order, a few MiB in memory at a time."""
        for batch in self._table.select(["path", "image"]).to_batches():
            yield from zip(batch["path"].to_pylist(), batch["image"].to_pylist(), strict=True)

    @property
    def paths(self) -> pa.ChunkedArray:
        """(N,) texts: the paths of the samples in the upload."""
        return self._table["path"]

    @property
    def sha256(self) -> pa.ChunkedArray:
        """(N,) 32 bytes each: the digests of the files as they are stored."""
        return self._table["sha256"]

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): width and height of each image, in pixels, upright."""
        return np.stack([read_column(self._table, "width"), read_column(self._table, "height")], axis=1)

    @cached_property
    def pixels(self) -> NDArray[np.uint8] | None:
        """(N, H, W, 3) RGB, memory-mapped, if all images have one small size; else None."""
        return read_pixels(self.directory, len(self))

    def _check(self, row: int) -> None:
        if not 0 <= row < len(self):
            raise IndexError(f"there is no sample {row}; samples are numbered from 0 to {len(self) - 1}")


def evenly(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of the rows, evenly spaced."""
    places = np.linspace(0, len(rows) - 1, min(count, len(rows)))
    return rows[np.unique(places.astype(np.int64))]
