"""The files of an import's computed shards, and how they are read when they are joined."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.data.grey import GreyWindow
from models.data.images.dicom import Header
from models.data.layout import read_pixels
from models.data.report import FileCode, Rejection

FACTS_FILE, IMAGES_FILE, LISTS_FILE = "facts.npy", "images.arrow", "lists.json"
REJECTED, HEADERS = "rejected", "headers"
"""Keys of `LISTS_FILE`: the files that were left out, and of other rows what DICOM headers say."""

FACTS = np.dtype(
    [
        ("number", "i4"),
        ("width", "i4"),
        ("height", "i4"),
        ("type", "S8"),
        ("grey_16", "?"),
        ("sha256", "V8"),
        ("pixel_hash", "V16"),
    ]
)
"""What is known of an image, in little memory: there may be millions. `number` is that of its entry, the rest
as in `CheckedImage`, of digests as much as tells images apart."""

IMAGES = pa.schema([("sha256", pa.binary(32)), ("image", pa.large_binary())])
"""The files as a store keeps them, and their digests."""

ShardFolder = Callable[[int], Path]
"""The folder of the shard with this number."""


class Parts:
    """All shards of an import, in order. `facts` (N,) and `headers`, by row, are of the accepted images."""

    def __init__(self, folder_of: ShardFolder, sizes: Sequence[int]) -> None:
        self._folder_of = folder_of
        self.facts = np.empty(sum(sizes), FACTS)
        self.headers: dict[int, Header] = {}
        self.rejected: list[Rejection] = []
        self._ends: list[int] = []
        count = 0
        for number in range(len(sizes)):
            folder = folder_of(number)
            facts = np.load(folder / FACTS_FILE, allow_pickle=False)
            lists = json.loads((folder / LISTS_FILE).read_text(encoding="utf-8"))
            self.facts[count : count + len(facts)] = facts
            self.rejected += (Rejection(path, FileCode(code), text) for path, code, text in lists[REJECTED])
            for row, subject, window, device in lists[HEADERS]:
                self.headers[count + row] = Header(subject, window and GreyWindow(*window), tuple(device))
            count += len(facts)
            self._ends.append(count)
        self.facts = self.facts[:count]

    def images(self) -> Iterator[tuple[bytes, bytes]]:
        """The digest and the file of each row, a few MiB in memory at a time."""
        for number in range(len(self._ends)):
            for batch in self._table(number).to_batches():
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def image(self, row: int) -> bytes:
        """The file of one row."""
        number = int(np.searchsorted(self._ends, row, side="right"))
        table = self._table(number)
        return bytes(table["image"][row - self._ends[number] + len(table)].as_py())

    def pixels(self) -> Iterator[NDArray[np.uint8] | None]:
        """The pixels (H, W, 3) of each row; None for a shard that has none, for want of one small size."""
        for number, count in enumerate(np.diff(self._ends, prepend=0).tolist()):
            if count:
                pixels = read_pixels(self._folder_of(number), count)
                yield from [None] if pixels is None else pixels

    def _table(self, number: int) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self._folder_of(number) / IMAGES_FILE))).read_all()
