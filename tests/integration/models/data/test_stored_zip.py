"""A zip written while it is sent: read by Python's zipfile and by our own unpacking, however large it is."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from models.data.archives import unpack
from models.data.archives.stored_zip import BLOCK, Entry, stored_zip

ZEROS = bytes(64 << 20)


def _entries(files: dict[str, bytes]) -> Iterator[Entry]:
    for name, content in files.items():
        yield Entry.of(name, partial(tuple, (content,)))


def _written(path: Path, entries: Iterator[Entry]) -> Path:
    """The archive as a file, sparse where a block is `ZEROS`."""
    with path.open("wb") as file:
        for block in stored_zip(entries):
            file.seek(len(block), 1) if block is ZEROS else file.write(block)
    return path


def test_what_is_written_is_unpacked_again(tmp_path: Path) -> None:
    files = {"ä/1.png": b"one", "b.png": b"", "c d/e/日本.png": bytes(range(256)) * 9000}
    archive = _written(tmp_path / "some.zip", _entries(files))
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == files
    assert unpack(archive, tmp_path / "unpacked") == []
    assert {name: (tmp_path / "unpacked" / name).read_bytes() for name in files} == files


def test_the_same_files_give_the_same_bytes_in_blocks() -> None:
    files = {f"{number}.png": bytes([number]) * 100_000 for number in range(40)}
    blocks = list(stored_zip(_entries(files)))
    assert blocks == list(stored_zip(_entries(files)))
    assert all(len(block) >= BLOCK for block in blocks[:-1])


def test_more_entries_than_a_plain_zip_may_have(tmp_path: Path) -> None:
    archive = _written(tmp_path / "many.zip", _entries({f"{number}.png": b"" for number in range(65_536)}))
    with zipfile.ZipFile(archive) as opened:
        assert len(opened.namelist()) == 65_536


def test_an_entry_behind_and_one_above_four_gibibytes(tmp_path: Path) -> None:
    count = 65
    large = Entry("large", count * len(ZEROS), 0, lambda: (ZEROS for _ in range(count)))
    small = Entry("small", 2, zlib.crc32(b"ok"), lambda: [b"ok"])
    with zipfile.ZipFile(_written(tmp_path / "large.zip", iter((large, small)))) as opened:
        assert opened.getinfo("large").file_size == count * len(ZEROS) > 1 << 32
        assert opened.getinfo("small").header_offset > 1 << 32
        assert opened.read("small") == b"ok"
        with opened.open("large") as content:
            assert content.read(4) == bytes(4)


def test_an_archive_that_is_not_read_to_its_end_reads_no_further_file() -> None:
    read = []

    def entries() -> Iterator[Entry]:
        for number in range(100):
            read.append(number)
            yield Entry.of(f"{number}.png", lambda: [bytes(BLOCK)])

    blocks = stored_zip(entries())
    next(blocks)
    blocks.close()
    assert read == [0]


def test_an_archive_without_entries_is_one(tmp_path: Path) -> None:
    with zipfile.ZipFile(_written(tmp_path / "empty.zip", iter(()))) as opened:
        assert opened.namelist() == []
