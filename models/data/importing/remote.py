"""Data on another host, of which only lists are copied: images are read when their shard is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from models.data.archives.zips import Member, member_content
from models.data.formats.manifest import is_image_name
from models.data.importing.sources import Fetch, FolderSource

_GAP = 64 << 10
"""Most bytes between two images that are read together: as many as take the time of a request."""
_TOGETHER = 8 << 20  # bytes read at once, or one image


class RemoteFolder(NamedTuple):
    """A folder with copies of lists, and with empty files of their sizes that stand in for images, which
    `fetch` brings."""

    path: Path
    fetch: Fetch


class RemoteZip(NamedTuple):
    """A zip of `size` bytes.
    `open` opens it, in any process; `read` returns its bytes from one place to another."""

    size: int
    open: Callable[[], IO[bytes]]
    read: Callable[[int, int], bytes]

    def fetch(self, stand_ins: Sequence[Path]) -> None:
        """Write the bytes of each member behind what stands in for it."""
        members = [(Member.of(path.read_bytes()), path) for path in stand_ins]
        for near in _neighbours(sorted(members, key=lambda each: each[0].start)):
            first = near[0][0].start
            block = self.read(first, near[-1][0].stop)
            for member, path in near:
                with path.open("ab") as file:
                    file.write(block[member.start - first : member.stop - first])


def _neighbours(members: Sequence[tuple[Member, Path]]) -> Iterator[list[tuple[Member, Path]]]:
    near: list[tuple[Member, Path]] = []
    for member, path in members:
        if near and (member.start - near[-1][0].stop > _GAP or member.stop - near[0][0].start > _TOGETHER):
            yield near
            near = []
        near.append((member, path))
    if near:
        yield near


class MemberSource(FolderSource):
    """The images in a zip on another host, for which packed `Member`s stand in."""

    def _size(self, file: Path) -> int:
        if not is_image_name(file.name):
            return super()._size(file)
        with file.open("rb") as opened:
            return Member.of(opened.read(_HEAD)).size

    def _read(self, file: Path) -> bytes:
        content = super()._read(file)
        if not is_image_name(file.name):
            return content
        return member_content(content, PurePosixPath(file.relative_to(self.manifest.root)))


_HEAD = 64  # bytes, of a packed member and more
