"""Transfers: uploads that are read while they are sent and report progress, and the limit of their size;
downloads to a file that appears complete or not at all."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

import httpx2

from masktune.client.calls import call, get, open_body
from masktune.client.errors import NotSent, TooLarge, Unreachable
from masktune.client.wire import Body, Close, Flow, Policy, Read, Request, Retry
from masktune.contract.operations import Limits
from masktune.contract.upload_files import HEAD, file_refusal, folder_refusal

OnSent: TypeAlias = Callable[[int, int], None]
"""Called with (bytes sent so far, total bytes)."""

STORED_SECONDS = 3600.0
"""How long to wait for the answer: the service first copies a large upload into its store."""

ASKED_ABOVE = 1 << 20
"""Bytes. Smaller uploads are sent without checking the limit first."""

_CHUNK = 1 << 16
_EPOCH = (1980, 1, 1, 0, 0, 0)


def service_limits() -> Flow[Limits]:
    """Get the size limits for uploads and images. Needs no key."""
    return call(get("/limits"), Limits)


def check_upload(path: Path) -> Flow[None]:
    """Raise `TooLarge` for a file or a folder above the service's size limit."""
    size = size_of(path)
    if size <= ASKED_ABOVE:
        return
    limit = (yield from service_limits()).max_upload_bytes
    if size > limit:
        raise TooLarge(path.name, size, limit)


def check_dataset_files(path: Path, *, labelled: bool) -> None:
    """Raise `NotSent` for a folder or a file that cannot be a data set, by its names or its first bytes."""
    if path.is_dir():
        paths = (file.relative_to(path).as_posix() for file in _visible_files(path))
        refusal = folder_refusal(paths, labelled=labelled)
    else:
        with path.open("rb") as file:
            refusal = file_refusal(file.read(HEAD), labelled=labelled)
    if refusal:
        raise NotSent(f"{as_utf8(path.resolve().name)} {refusal}")


def size_of(path: Path) -> int:
    """Bytes of a file, or of all visible files in a folder, without the overhead of the zip format."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in _visible_files(path))


def as_utf8(name: str) -> str:
    """A file's name as text that can be encoded as UTF-8.

    Names from old archives and shares may not be valid UTF-8. They are decoded as Latin-1, which accepts any
    bytes and keeps distinct names distinct.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("latin-1")
    return name


class CountedFile:
    """A file that reports its progress while it is read."""

    def __init__(self, path: Path, on_sent: OnSent | None) -> None:
        self._file: BinaryIO = path.open("rb")
        self._total = path.stat().st_size
        self._on_sent = on_sent

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._file.read(size)
        if self._on_sent is not None and chunk:
            self._on_sent(self._file.tell(), self._total)
        return chunk

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


class ZippedFolder:
    """A zip of the files below a folder, generated while it is read, without a second copy on disk.

    Entries are stored, not compressed: images already are. Order and timestamps are fixed, so that the
    same files give the same bytes. Hidden files are left out.
    """

    def __init__(self, folder: Path, on_sent: OnSent | None) -> None:
        self._folder = folder
        self._on_sent = on_sent
        self._files = sorted(_visible_files(folder))
        self._total = sum(path.stat().st_size for path in self._files)
        self._chunks = self._zip()
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        while len(self._rest) < size or size < 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._rest += chunk
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def close(self) -> None:
        self._chunks.close()

    def _zip(self) -> Generator[bytes, None, None]:
        sink, sent = _Sink(), 0
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
            for path in self._files:
                entry = zipfile.ZipInfo(as_utf8(path.relative_to(self._folder).as_posix()), _EPOCH)
                with archive.open(entry, "w", force_zip64=True) as target, path.open("rb") as source:
                    while chunk := source.read(_CHUNK):
                        target.write(chunk)
                        sent += len(chunk)
                        yield sink.take()
                if self._on_sent is not None:
                    self._on_sent(sent, self._total)
        yield sink.take()


class _Sink(io.RawIOBase):
    """The write end of the zip: unseekable, and drained by `take`."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block: object, /) -> int:
        chunk = bytes(block)  # type: ignore[call-overload]  # any buffer, as `io` requires
        self._held += chunk
        return len(chunk)

    def take(self) -> bytes:
        taken = bytes(self._held)
        self._held.clear()
        return taken


def _visible_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


def download(request: Request, target: Path, on_received: OnSent | None = None) -> Flow[Path]:
    """Write the response body to `target`. Starts over if the connection breaks."""
    unfinished = target.with_name(f".{target.name}.part")
    retry: Retry = yield Policy()
    try:
        for attempt in range(1, retry.attempts + 1):
            body = yield from open_body(request)
            try:
                yield from _receive(body, unfinished, on_received)
            except httpx2.TransportError as error:
                if attempt == retry.attempts:
                    raise Unreachable(f"the connection broke {attempt} times during the download") from error
                yield Close(body)
                continue
            unfinished.replace(target)
            break
    finally:
        unfinished.unlink(missing_ok=True)
    return target


def _receive(body: Body, target: Path, on_received: OnSent | None) -> Flow[None]:
    total, received = int(body.response.headers.get("Content-Length", 0)), 0
    with target.open("wb") as file:
        while chunk := (yield Read(body)):
            file.write(chunk)
            received += len(chunk)
            if on_received is not None:
                on_received(received, max(total, received))
