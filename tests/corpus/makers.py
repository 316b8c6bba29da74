"""The inputs of the corpus that are too large to lie in it: each is made anew, byte for byte the same."""

from __future__ import annotations

import json
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from io import BytesIO

import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from models.backbones.build import build_network
from tests.support.tiffs import (
    ORIENTATION,
    X_RESOLUTION,
    fractions,
    grey_picture,
    jpeg_with,
    png_with,
    tiff,
    tiff_of_strips,
    webp_with,
)
from tests.support.workbooks import inline, row, shared, workbook

BACKBONE, CLASSES, IMAGE_SIZE = "small_cnn", ("cat", "dog"), 28
"""What every model file of the corpus claims to be."""
_DEEP = 60_000
_FRACTIONS = fractions(ORIENTATION, 1_000_000)


def _picture(format: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (16, 12), (200, 30, 30)).save(buffer, format)
    return buffer.getvalue()


def _chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_with(chunks: bytes, before: bytes) -> bytes:
    png = _picture("PNG")
    at = png.index(before) - 4
    return png[:at] + chunks + png[at:]


def _damaged_texts() -> bytes:
    """Each grows from 1 KB to 1 MB, and PIL counts none that is damaged at its end."""
    packing = zlib.compressobj()
    text = packing.compress(bytes(1 << 20)) + packing.flush(zlib.Z_SYNC_FLUSH) + b"\xff\xff\xff"
    return _png_with(_chunk(b"zTXt", b"k\0\0" + text) * 101, b"IDAT")


def _gif_with(blocks: bytes) -> bytes:
    gif = _picture("GIF")
    return gif[:-1] + blocks + gif[-1:]


def _jpeg_of_segments() -> bytes:
    jpeg = _picture("JPEG")
    return jpeg[:2] + b"\xff\xe5\x00\x02" * 10_000 + jpeg[2:]


def _lists_of_different_columns() -> bytes:
    """One image and 500 columns in each of 480 folders: the table of all has 115 million cells."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in range(480):
            columns = ",".join(f"{folder}-{column}" for column in range(500))
            archive.writestr(f"{folder}/metadata.csv", f"file_name,label,{columns}\na.png,1\n")
            archive.writestr(f"{folder}/a.png", _picture("PNG"))
    return buffer.getvalue()


def _ids_of_one_hash() -> bytes:
    """Python's hash of an integer is its remainder by a prime, so that each of these is compared with all."""
    ids = range(sys.hash_info.modulus, 50_000 * sys.hash_info.modulus, sys.hash_info.modulus)
    lists = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": id, "category_id": 1} for id in ids],
    }
    return json.dumps(lists).encode()


def _last_row_of_a_thousand_columns() -> bytes:
    """A few kB, of which a reader that makes up what is between makes a billion cells."""
    header = row(1, inline("A1", "path"), inline("B1", "label"), inline("ALL1", "last"))
    rows = (
        row(
            number,
            inline(f"A{number}", f"{letter}.png"),
            inline(f"B{number}", "cat" if number % 2 else "dog"),
        )
        for number, letter in zip((*range(2, 13), 1 << 20), "abcdefghijkl", strict=True)
    )
    return workbook(header + "".join(rows))


def _rows_within_rows() -> bytes:
    header = row(1, inline("A1", "path"), inline("B1", "label"))
    return workbook(header + '<row r="2"><c r="A2">' * 100_000)


def _shared_texts_by_the_million() -> bytes:
    header = row(1, shared("A1", 0), shared("B1", 1))
    return workbook(
        header, texts="<si><t>path</t></si><si><t>label</t></si>" + "<si><t>x</t></si>" * 3_000_000
    )


def _sheets_by_the_thousand() -> bytes:
    """Each with a header: a reader that opens the workbook for each sheet takes the square of the time."""
    header = row(1, inline("A1", "path"), inline("B1", "label"))
    return workbook(*(header for _ in range(1_000)))


def _dimensions_by_the_million() -> bytes:
    header = b'{"block1.0.weight":{"dtype":"F32","shape":[1' + b",1" * 1_000_000 + b'],"data_offsets":[0,4]}}'
    return struct.pack("<Q", len(header)) + header + bytes(4)


def _weights(change: Callable[[Tensor], Tensor]) -> bytes:
    """A file that fits the network, with `change` made to its tensors of floats."""
    state = build_network(BACKBONE, classes=len(CLASSES), image_size=IMAGE_SIZE, seed=0).model.state_dict()
    floats = {name: change(tensor.clone()) for name, tensor in state.items() if tensor.is_floating_point()}
    return save({name: tensor.contiguous() for name, tensor in (state | floats).items()})


def _filled_with(number: float) -> bytes:
    return _weights(lambda tensor: torch.full_like(tensor, number))


def _stored_as(kind: torch.dtype) -> bytes:
    return _weights(lambda tensor: tensor.to(kind))


MAKERS: Mapping[str, Callable[[], bytes]] = {
    "archives/lists-of-different-columns.zip": _lists_of_different_columns,
    "images/empty-chunks-before-the-pixels.png": partial(_png_with, _chunk(b"teSt") * 10_000, b"IDAT"),
    "images/empty-chunks-behind-the-pixels.png": partial(_png_with, _chunk(b"teSt") * 10_000, b"IEND"),
    "images/pixels-in-empty-chunks.png": partial(_png_with, _chunk(b"IDAT") * 10_000, b"IDAT"),
    "images/texts-that-grow-and-end-damaged.png": _damaged_texts,
    "images/comments-by-the-hundred-thousand.gif": partial(_gif_with, b"!\xfe\1a\0" * 100_000),
    "images/empty-extensions.gif": partial(_gif_with, b"!\xfe\0" * 100_000),
    "images/zeros-behind-the-picture.gif": partial(_gif_with, bytes(100_000)),
    "images/extension-without-end.gif": partial(_gif_with, b"!\xf0" + b"\1a" * 100_000 + b"\0"),
    "images/segments-by-the-ten-thousand.jpg": _jpeg_of_segments,
    "images/strips-at-one-place.tiff": partial(tiff_of_strips, 65_537),
    "images/orientation-of-a-million-fractions.png": lambda: png_with(tiff([_FRACTIONS])),
    "images/orientation-of-a-million-fractions.webp": lambda: webp_with(tiff([_FRACTIONS])),
    "images/orientation-of-a-million-fractions.jpg": lambda: jpeg_with(tiff([_FRACTIONS])),
    "images/orientation-of-a-million-fractions.tiff": lambda: tiff([*grey_picture(), _FRACTIONS]),
    "images/exif-data-of-a-million-fractions.tiff": lambda: tiff(
        grey_picture(), [fractions(37386, 1_000_000)]
    ),
    "images/resolution-of-400-thousand-fractions.jpg": lambda: jpeg_with(
        tiff([fractions(X_RESOLUTION, 400_000)])
    ),
    "images/damaged-tags-by-the-ten-thousand.png": lambda: png_with(
        tiff([(number, 2, 5, b"\xff\xff\xff\xff") for number in range(1000, 41_000)])
    ),
    "tables/nested-deeply.json": lambda: b'{"images": 0, "annotations": 0, "categories": ' + b"[" * _DEEP,
    "tables/nested-deeply.jsonl": lambda: b'{"file_name": "a.png", "label": 1}\n' + b"[" * _DEEP,
    "tables/nested-deeply.xml": lambda: b"<annotations>" + b"<a>" * _DEEP,
    "tables/cells-by-the-million-in-one-row.csv": lambda: b"file_name,label\na.png,1\n" + b"," * (64 << 20),
    "tables/ids-of-one-hash.json": _ids_of_one_hash,
    "tables/last-row-of-a-thousand-columns.xlsx": _last_row_of_a_thousand_columns,
    "tables/rows-within-rows.xlsx": _rows_within_rows,
    "tables/shared-texts-by-the-million.xlsx": _shared_texts_by_the_million,
    "tables/sheets-by-the-thousand.xlsx": _sheets_by_the_thousand,
    "models/dimensions-by-the-million.safetensors": _dimensions_by_the_million,
    "models/nan-weights.safetensors": partial(_filled_with, math.nan),
    "models/infinite-weights.safetensors": partial(_filled_with, math.inf),
    "models/weights-of-3e38.safetensors": partial(_filled_with, 3e38),
    "models/int8-weights.safetensors": partial(_stored_as, torch.int8),
    "models/bool-weights.safetensors": partial(_stored_as, torch.bool),
    "models/float8-weights.safetensors": partial(_stored_as, torch.float8_e4m3fn),
    "models/half-precision.safetensors": partial(_stored_as, torch.float16),
}
"""Path in the corpus → what makes the file."""
