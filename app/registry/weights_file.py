"""The weights of a model that shares its backbone, sent as the one safetensors file that they would be.

A safetensors file is the length of its header (8 bytes, little-endian), the header (JSON), and the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from starlette.responses import StreamingResponse

_DTYPES = ("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL")
"""In the order in which the library writes tensors; those of one type are in the order of their names. No
network has others (`load_strictly`)."""


def as_one_file(own: Path, backbone: Path, *, headers: Mapping[str, str]) -> StreamingResponse:
    """Send the tensors of both files, with the metadata of the first."""
    entries: dict[str, Any] = {}
    tensors = []  # (rank of the type, name, entry, index of the file, where the file's tensors begin)
    for index, file in enumerate((backbone, own)):
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(size))
        entries["__metadata__"] = header.pop("__metadata__")
        tensors += [(_DTYPES.index(e["dtype"]), name, e, index, 8 + size) for name, e in header.items()]
    end, places = 0, []
    for _, name, entry, index, first in sorted(tensors, key=itemgetter(0, 1)):
        start, stop = entry["data_offsets"]
        places.append((index, first + start, stop - start))
        entries[name] = entry | {"data_offsets": [end, end := end + stop - start]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return StreamingResponse(
        _chunks(head, (backbone, own), places),
        headers={**headers, "Content-Length": str(len(head) + end)},
        media_type="application/octet-stream",
    )


def _chunks(head: bytes, files: tuple[Path, Path], places: Iterable[tuple[int, int, int]]) -> Iterator[bytes]:
    """`places`: index of the file, position and length in bytes. A model may be deleted while it is sent."""
    with files[0].open("rb") as below, files[1].open("rb") as own:
        yield head
        for index, start, length in places:
            file = (below, own)[index]
            file.seek(start)
            for left in range(length, 0, -(1 << 20)):
                yield file.read(min(left, 1 << 20))
