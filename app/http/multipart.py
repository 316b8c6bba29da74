"""Incremental parsing of multipart/form-data, and the form of an upload: small fields and one file."""

from __future__ import annotations

from abc import ABC, abstractmethod

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, MultipartState, parse_options_header

from core.errors import InvalidInput

MULTIPART = "multipart/form-data"
FILE = "file"
"""Name of the part of an upload that is the file."""
MAX_FIELD_BYTES = 64 * 1024
MAX_HEADER_BYTES = 8 * 1024
MAX_PARTS = 16


class PartParser(ABC):
    """Parses a body that is fed piece by piece.
    Subclasses take its parts, one after the other, and append what belongs to a file to `pieces`.

    Every fault of the form itself is raised as the `InvalidInput` that `fault` makes of it.
    """

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        if kind != MULTIPART.encode() or not options.get(b"boundary"):
            raise self.fault("no-boundary", f"the Content-Type must be {MULTIPART} with a boundary")
        self.pieces: list[bytes] = []
        self._header_name, self._header_text = bytearray(), bytearray()
        self._disposition = b""
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self.part_begun,
                "on_header_field": lambda body, start, end: self._header(self._header_name, body[start:end]),
                "on_header_value": lambda body, start, end: self._header(self._header_text, body[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": lambda body, start, end: self.part_data(body[start:end]),
                "on_part_end": self.part_ended,
            },
        )

    def feed(self, chunk: bytes) -> bytes:
        """Parse the next piece of the body and return the bytes of files in it."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise self.fault("malformed-multipart", f"the body is not well-formed {MULTIPART}") from error
        content = b"".join(self.pieces)
        self.pieces.clear()
        return content

    def check_ended(self) -> None:
        """Raise if the body has ended before its last boundary."""
        if self._parser.state != MultipartState.END:
            raise self.fault("truncated", "the body ends before its last boundary; send all of it")

    @abstractmethod
    def fault(self, code: str, detail: str) -> InvalidInput:
        """Return the error for a body that is no such form."""

    @abstractmethod
    def part_begun(self) -> None: ...

    @abstractmethod
    def part_named(self, name: str, filename: str | None) -> None:
        """Take the names of the part that has begun; `filename` is None for a field."""

    @abstractmethod
    def part_data(self, content: bytes) -> None: ...

    @abstractmethod
    def part_ended(self) -> None: ...

    def _header(self, into: bytearray, piece: bytes) -> None:
        into += piece
        if len(into) > MAX_HEADER_BYTES:
            raise self.fault("header-too-large", "a header of a part is too large")

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_text)
        self._header_name.clear()
        self._header_text.clear()

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._disposition)
        self._disposition = b""
        if kind != b"form-data" or b"name" not in options:
            raise self.fault("unnamed-part", "a part has no name in its Content-Disposition")
        texts = {option: text.decode("utf-8", "replace") for option, text in options.items()}
        self.part_named(texts[b"name"], texts.get(b"filename"))


class UploadForm(PartParser):
    """The form of an upload: small `fields` and one file, in any order."""

    def __init__(self, content_type: str) -> None:
        super().__init__(content_type)
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        """The client's name for the file, once its part has begun."""
        self._parts = 0
        self._field, self._text = "", bytearray()

    def finish(self) -> None:
        """Raise unless the body was complete."""
        self.check_ended()
        if self.filename is None:
            raise InvalidInput.field(f"/{FILE}", "missing", f"the file part {FILE} is missing")

    def fault(self, code: str, detail: str) -> InvalidInput:
        return InvalidInput.field("/", code, detail)

    def part_begun(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise self.fault("too-many-parts", f"the body may have at most {MAX_PARTS} parts")

    def part_named(self, name: str, filename: str | None) -> None:
        if name in self.fields or (name == FILE and self.filename is not None):
            raise InvalidInput.field(pointer(name), "repeated", f"the field {name} was sent twice")
        if name == FILE:
            self.filename = filename or ""
        self._field, self._text = name, bytearray()

    def part_data(self, content: bytes) -> None:
        if self._field == FILE:
            self.pieces.append(content)
            return
        self._text += content
        if len(self._text) > MAX_FIELD_BYTES:
            raise InvalidInput.field(
                pointer(self._field), "too-long", f"a field may have at most {MAX_FIELD_BYTES} bytes"
            )

    def part_ended(self) -> None:
        if self._field == FILE:
            return
        try:
            self.fields[self._field] = self._text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInput.field(pointer(self._field), "not-utf8", "the field is not UTF-8") from error


def pointer(name: str) -> str:
    """Return a JSON pointer (RFC 6901) to a field of the form."""
    return "/" + name.replace("~", "~0").replace("/", "~1")
