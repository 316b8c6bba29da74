"""The weights of a model that shares its backbone, sent as the one safetensors file that they would be.

A safetensors file is the length of its header (8 bytes, little-endian), the header (JSON), and the tensors.
"""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path

from app.http.responses import Span
from masktune.contract.base import Json

_DTYPES = ("U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16", "I8", "U8", "BOOL")
"""In the order in which the library writes tensors; those of one type are in the order of their names. No
network has others (`load_strictly`)."""


def as_one_file(own: Path, backbone: Path) -> list[bytes | Span]:
    """The pieces of a file with the tensors of both, and the metadata of the first."""
    entries: Json = {}
    tensors = []  # (rank of the type, name, entry, file, where the file's tensors begin)
    for file in (backbone, own):
        with file.open("rb") as opened:
            size = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(size))
        entries["__metadata__"] = header.pop("__metadata__")
        tensors += [(_DTYPES.index(e["dtype"]), name, e, file, 8 + size) for name, e in header.items()]
    end, spans = 0, list[Span]()
    for _, name, entry, file, first in sorted(tensors, key=itemgetter(0, 1)):
        start, stop = entry["data_offsets"]
        spans.append(Span(file, first + start, stop - start))
        entries[name] = entry | {"data_offsets": [end, end := end + stop - start]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return [head, *spans]
