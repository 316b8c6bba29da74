"""Incremental parser of a form of images: extracts the files' bytes as the body arrives."""

from __future__ import annotations

from typing import NamedTuple

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.http.multipart import MAX_HEADER_BYTES, pointer
from core.errors import BadImage, FieldError, InvalidInput
from models.data.report import FileCode

MULTIPART = "multipart/form-data"


class File(NamedTuple):
    """A file of the form: `name` as sent by the client, `size` in bytes."""

    name: str
    size: int


class ImageForm:
    """Takes the body piece by piece and returns the bytes of its files, one file after the other.

    Raises `InvalidInput` for a malformed body. Returns no more bytes of a file once it exceeds `max_bytes`.
    """

    def __init__(self, content_type: str, *, most: int, max_bytes: int) -> None:
        _, options = parse_options_header(content_type)
        self._most, self._max_bytes = most, max_bytes
        if not options.get(b"boundary"):
            raise self._malformed("the Content-Type has no boundary")
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
        """Parse the next piece of the body and return the file bytes in it."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise self._malformed("the body is not well-formed") from error
        given = b"".join(self._given)
        self._given.clear()
        return given

    def finish(self) -> list[File]:
        """Return the files in order, once the body has ended. Raises `BadImage` if one is too large."""
        if not self._ended:
            raise self._malformed("the body ends before its last boundary")
        if not self._files:
            raise InvalidInput.field("/file", "missing", "there is no image in the body; send at least one")
        faults = tuple(
            FieldError(
                f"/images/{number}",
                FileCode.TOO_LARGE,
                f"image {number + 1} ({name}) has {size} bytes, more than the limit of {self._max_bytes}: "
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
                pointer(name), "not-a-file", f"{name} is not a file; send everything but images in the query"
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
