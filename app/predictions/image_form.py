"""A form of images, parsed as it arrives: its files' bytes, one file after the other."""

from __future__ import annotations

from typing import NamedTuple

from app.http.multipart import MULTIPART, PartParser, pointer
from core.errors import BadImage, FieldError, InvalidInput
from models.data.report import FileCode


class File(NamedTuple):
    """A file of the form: `name` as sent by the client, `size` in bytes."""

    name: str
    size: int


class ImageForm(PartParser):
    """Takes the body piece by piece and returns the bytes of its files.

    Raises `InvalidInput` for a malformed body. Returns no more bytes of a file once it exceeds `max_bytes`.
    """

    def __init__(self, content_type: str, *, most: int, max_bytes: int) -> None:
        self._most, self._max_bytes = most, max_bytes
        super().__init__(content_type)
        self._files: list[File] = []
        self._filename, self._size = "", 0

    def finish(self) -> list[File]:
        """Return the files in order, once the body has ended. Raises `BadImage` if one is too large."""
        self.check_ended()
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

    def fault(self, code: str, detail: str) -> InvalidInput:
        return InvalidInput.field(
            "/", "malformed-multipart", f"{detail}; send at most {self._most} images as {MULTIPART}"
        )

    def part_begun(self) -> None:
        if len(self._files) >= self._most:
            raise self.fault("too-many-files", "there are too many files")

    def part_named(self, name: str, filename: str | None) -> None:
        if filename is None:
            raise InvalidInput.field(
                pointer(name), "not-a-file", f"{name} is not a file; send everything but images in the query"
            )
        self._filename, self._size = filename, 0

    def part_data(self, content: bytes) -> None:
        self._size += len(content)
        if self._size <= self._max_bytes:
            self.pieces.append(content)

    def part_ended(self) -> None:
        self._files.append(File(self._filename, self._size))
