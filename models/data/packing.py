"""Write a packed store: rows stream through one record batch, and the folder appears only when complete."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from models.data.layout import DATASET_FILE, PIXELS_FILE, SAMPLES_FILE, SCHEMA, VERSION, DatasetInfo
from models.data.splits import SPLIT_NAMES
from models.runtime.files import hidden_sibling, replace_folder

MAX_PIXELS_SIDE = 64  # pixels; up to this size a whole split fits in memory as one uint8 tensor
_BATCH_ROWS = 1024
_BATCH_BYTES = 8 << 20


class Row(NamedTuple):
    """A sample to write.
    `label` and `group` -1 are none, and so is an empty `split`. `image` is the encoded file and `sha256` its
    digest, computed if it is not known; sizes are upright pixels."""

    path: str
    label: int
    split: str
    group: int
    width: int
    height: int
    image: bytes
    sha256: bytes | None = None


class ArrowRows:
    """An Arrow file that grows by rows. Memory is one record batch: 8 MiB of images, or the largest image."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[tuple[Any, ...]] = []
        self._bytes = 0
        self._file = pa.OSFile(str(path), "wb")
        self._arrow = pa.ipc.new_file(self._file, schema)

    def add(self, row: tuple[Any, ...], image_bytes: int) -> None:
        """Append the cells of a row, whose image has so many bytes."""
        self._rows.append(row)
        self._bytes += image_bytes
        if len(self._rows) >= _BATCH_ROWS or self._bytes >= _BATCH_BYTES:
            self._flush()

    def close(self) -> None:
        """Complete the file."""
        if not self._file.closed:
            self._flush()
            self._arrow.close()
            self._file.close()

    def _flush(self) -> None:
        if self._rows:
            cells = zip(*self._rows, strict=True)
            columns = [_array(column, field.type) for column, field in zip(cells, self._schema, strict=True)]
            self._arrow.write_batch(pa.record_batch(columns, schema=self._schema))
            self._rows.clear()
            self._bytes = 0


def _array(cells: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column of cells; those of a dictionary, which are the splits, are their codes."""
    if not pa.types.is_dictionary(kind):
        return pa.array(cells, kind)
    return pa.DictionaryArray.from_arrays(
        pa.array(cells, kind.index_type), pa.array(SPLIT_NAMES, kind.value_type)
    )


class StoreWriter:
    """Writes into a hidden folder beside `directory`; `finish` renames it to `directory`.

    Use it in a `with` block: without `finish` (an error, a stop) nothing is left behind, and
    `sweep_siblings` removes what a killed process left. Memory is one record batch: 8 MiB of images,
    or the largest image. `pixels` are optional; they are added for every row, in row order.

        with StoreWriter(folder) as writer:
            writer.add(Row("cat/1.png", label=0, split="train", group=-1, width=28, height=28, image=data))
            writer.finish(DatasetInfo("pets", "image_folder", classes=("cat", "dog")))
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.folder = hidden_sibling(self.directory)
        self.count = 0
        self.pixels = PixelFile(self.folder / PIXELS_FILE)
        self._rows = ArrowRows(self.folder / SAMPLES_FILE, SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, row: Row) -> None:
        """Append a sample."""
        path, label, split, group, width, height, image, digest = row
        digest = digest or hashlib.sha256(image).digest()
        code = SPLIT_NAMES.index(split)
        self._rows.add((path, label, code, group, width, height, digest, image), len(image))
        self.count += 1

    def finish(self, info: DatasetInfo) -> None:
        """Complete the folder and rename it to `directory`, replacing an older one."""
        self.pixels.complete(self.count)
        self._close()
        text = json.dumps(
            {"version": VERSION, "count": self.count, **asdict(info)}, indent=2, ensure_ascii=False
        )
        (self.folder / DATASET_FILE).write_text(text, encoding="utf-8")
        replace_folder(self.folder, self.directory)

    def _close(self) -> None:
        self.pixels.close()
        self._rows.close()


class PixelFile:
    """A growing .npy of small images of one size; dropped for good at the first one that does not fit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = path.open("wb")  # None once dropped
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def add(self, pixels: NDArray[np.uint8] | None) -> None:
        """Add the next row's decoded (H, W, 3); None, another size or a large one drops the file."""
        if self._file is None:
            return
        fits = pixels is not None and max(pixels.shape[:2]) <= MAX_PIXELS_SIDE
        if pixels is None or not fits or self._shape not in ((), pixels.shape):
            self._drop()
            return
        if not self._count:
            self._shape = pixels.shape
            self._write_header(self._file)
        self._file.write(np.ascontiguousarray(pixels).tobytes())
        self._count += 1

    def complete(self, count: int) -> None:
        """Keep the file if it has all `count` images, at least one."""
        if self._file is None or not count or self._count != count:
            self._drop()
            return
        self._file.seek(0)
        self._write_header(self._file)  # numpy pads its header, so the final count fits
        self._file.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _drop(self) -> None:
        self.close()
        self._file = None
        self._path.unlink(missing_ok=True)

    def _write_header(self, file: IO[bytes]) -> None:
        shape = (self._count, *self._shape)
        header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) RGB as a PNG file."""
    buffer = BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
