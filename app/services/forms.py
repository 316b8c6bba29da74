"""A form of images taken apart as it arrives: which files it holds, and where the bytes of each lie."""

from __future__ import annotations

from typing import NamedTuple

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.services.multipart import MAX_HEADER_BYTES, pointer
from core.errors import BadImage, FieldError, InvalidInput
from models.data.report import FileCode

MULTIPART = "multipart/form-data"


class File(NamedTuple):
    """`name` is the client's; `size` is in bytes."""

    name: str
    size: int


class ImageForm:
    """Feed it the body, and keep the bytes that it gives back: those of its files, one behind the other.

    Faults of the body are `InvalidInput`. Of a file larger than `max_bytes` nothing more is given back.
    """

    def __init__(self, content_type: str, *, most: int, max_bytes: int) -> None:
        _, options = parse_options_header(content_type)
        self._most, self._max_bytes = most, max_bytes
        if not options.get(b"boundary"):
            raise self._malformed("the Content-Type names no boundary")
        self._files: list[File] = []
        self._given: list[bytes] = []
        self._ended = False
        self._name, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._filename, self._size = "", 0
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._header(self._name, data[start:end]),
                "on_header_value": lambda data, start, end: self._header(self._value, data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all,
            },
        )

    def feed(self, chunk: bytes) -> bytes:
        """The bytes of files in the next bytes of the body."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise self._malformed("the body is not well-formed") from error
        given = b"".join(self._given)
        self._given.clear()
        return given

    def finish(self) -> list[File]:
        """The files in order, once the body has ended. `BadImage` where one is too large."""
        if not self._ended:
            raise self._malformed("the body ends before its last boundary")
        if not self._files:
            raise InvalidInput.field("/file", "missing", "there is no image in the body; send at least one")
        faults = tuple(
            FieldError(
                f"/images/{number}",
                FileCode.TOO_LARGE,
                f"image {number + 1} ({name}) has {size} bytes, at most {self._max_bytes} are accepted: "
                "shrink it",
            )
            for number, (name, size) in enumerate(self._files)
            if size > self._max_bytes
        )
        if faults:
            raise BadImage("; ".join(fault.detail for fault in faults[:3]), errors=faults)
        return self._files

    def _begin(self) -> None:
        if len(self._files) >= self._most:
            raise self._malformed("there are too many files")
        self._disposition, self._size = b"", 0

    def _header(self, into: bytearray, piece: bytes) -> None:
        into += piece
        if len(into) > MAX_HEADER_BYTES:
            raise self._malformed("a header of a part is too large")

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise self._malformed("a part has no name in its Content-Disposition")
        if b"filename" not in options:
            name = options[b"name"].decode("utf-8", "replace")
            raise InvalidInput.field(
                pointer(name), "not-a-file", f"{name} is no file; everything but images goes into the query"
            )
        self._filename = options[b"filename"].decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._size <= self._max_bytes:
            self._given.append(data[start:end])

    def _end(self) -> None:
        self._files.append(File(self._filename, self._size))

    def _all(self) -> None:
        self._ended = True

    def _malformed(self, what: str) -> InvalidInput:
        return InvalidInput.field(
            "/", "malformed-multipart", f"{what}; send at most {self._most} images as {MULTIPART}"
        )
