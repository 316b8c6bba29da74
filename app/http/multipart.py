"""Incremental parser of multipart/form-data: keeps small fields and hands on the file's bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from core.errors import InvalidInput

MAX_FIELD_BYTES = 64 * 1024
MAX_HEADER_BYTES = 8 * 1024
MAX_PARTS = 16


@dataclass
class Form:
    """The part of the form received so far. `file` holds bytes of the file that were not yet taken."""

    file_field: str
    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    """The client's name for the file, once its part has begun."""
    file: list[bytes] = field(default_factory=list)
    ended: bool = False

    def take(self) -> bytes:
        """Return the file's bytes received since the last call."""
        taken = b"".join(self.file)
        self.file.clear()
        return taken


class FormReader:
    """Parses a body that is fed piece by piece into `form`. Raises `InvalidInput` if it is malformed."""

    def __init__(self, content_type: str, *, file_field: str = "file") -> None:
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise _fault("/", "no-boundary", "the Content-Type must be multipart/form-data with a boundary")
        self.form = Form(file_field)
        self._parts = 0
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._data = bytearray()
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": self._part_begin,
                "on_header_field": lambda data, start, end: self._header(self._name, data[start:end]),
                "on_header_value": lambda data, start, end: self._header(self._value, data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> None:
        """Parse the next piece of the body."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise _fault(
                "/", "malformed-multipart", "the body is not well-formed multipart/form-data"
            ) from error

    def finish(self) -> Form:
        """Return the complete form, once the body has ended."""
        if not self.form.ended:
            raise _fault("/", "truncated", "the body ends before its last boundary; send all of it")
        if self.form.filename is None:
            raise _fault(
                f"/{self.form.file_field}", "missing", f"the file part {self.form.file_field} is missing"
            )
        return self.form

    def _part_begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _fault("/", "too-many-parts", f"the body may have at most {MAX_PARTS} parts")
        self._headers, self._data, self._field = {}, bytearray(), None

    def _header(self, into: bytearray, piece: bytes) -> None:
        into += piece
        if len(into) > MAX_HEADER_BYTES:
            raise _fault("/", "header-too-large", "a header of a part is too large")

    def _header_end(self) -> None:
        self._headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise _fault("/", "unnamed-part", "a part has no name in its Content-Disposition")
        name = options[b"name"].decode("utf-8", "replace")
        if name in self.form.fields or (name == self.form.file_field and self.form.filename is not None):
            raise _fault(pointer(name), "repeated", f"the field {name} was sent twice")
        if name == self.form.file_field:
            self.form.filename = options.get(b"filename", b"").decode("utf-8", "replace")
        self._field = name

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field == self.form.file_field:
            self.form.file.append(data[start:end])
            return
        self._data += data[start:end]
        if len(self._data) > MAX_FIELD_BYTES:
            raise _fault(
                pointer(self._field or ""), "too-long", f"a field may have at most {MAX_FIELD_BYTES} bytes"
            )

    def _part_end(self) -> None:
        if self._field is None or self._field == self.form.file_field:
            return
        try:
            self.form.fields[self._field] = self._data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _fault(pointer(self._field), "not-utf8", "the field is not UTF-8") from error

    def _end(self) -> None:
        self.form.ended = True


def pointer(name: str) -> str:
    """Return a JSON pointer (RFC 6901) to a field of the form."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _fault(pointer: str, code: str, detail: str) -> InvalidInput:
    return InvalidInput.field(pointer, code, detail)
