"""What the headers and folders of an archive count as; small bombs are in tests/corpus."""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard

from models.data.archives import ArchiveLimits, unpack
from models.data.report import ProblemCode
from tests.unit.models.data.test_archives import FILES, MAKERS, contents, make_tar, make_zip, refusal

END = bytes(2 * tarfile.BLOCKSIZE)
PAX_KINDS = [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE]
COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.zst": zstandard.compress,
}


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def extended(kind: bytes, payload: bytes) -> bytes:
    """A header for what follows it, padded to whole blocks."""
    padding = bytes(-len(payload) % tarfile.BLOCKSIZE)
    return header("extended", kind, len(payload)) + payload + padding


def record(key: str, value: bytes) -> bytes:
    """A record of a pax header: its first number is the length of the whole, its own digits included."""
    rest = b" %s=%s\n" % (key.encode(), value)
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def test_extended_headers_that_nothing_follows_are_damage(tmp_path: Path) -> None:
    data = extended(tarfile.XHDTYPE, record("path", b"a")) + END
    assert refusal(tmp_path, data) is ProblemCode.DAMAGED_ARCHIVE
    assert refusal(tmp_path, data[:512]) is ProblemCode.DAMAGED_ARCHIVE


def test_extended_headers_are_charged_a_block(tmp_path: Path) -> None:
    """They need not count as files do, but cost as much time."""
    kinds = [extended(kind, record("comment", b"")) for kind in PAX_KINDS]
    data = (b"".join(kinds) + header("a")) + b"".join(b"".join(kinds) + header(f"b{n}") for n in range(30))
    limits = ArchiveLimits(max_bytes=31 * 3 * 4096)
    assert refusal(tmp_path, gzip.compress(data + END), limits) is ProblemCode.TOO_MANY_BYTES


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_honest_extended_headers_are_read(tmp_path: Path, format: int) -> None:
    """Long names, names in other scripts, names of 1,024 bytes, behind a global header as git writes it."""
    files = FILES | {
        "/".join(["ordner"] * 20) + "/é 1.png": b"long",
        "/".join(["x" * 203] * 5) + ".png": b"1",
    }
    data = extended(tarfile.XGLTYPE, record("comment", b"0" * 40)) + make_tar(files, format)
    (tmp_path / "a").write_bytes(data)
    unpack(tmp_path / "a", tmp_path / "out")
    assert contents(tmp_path / "out") == files


def test_the_size_in_a_pax_header_counts(tmp_path: Path) -> None:
    """It is where files of 8 GiB and more have theirs."""
    data = extended(tarfile.XHDTYPE, record("size", b"3")) + header("a") + b"abc".ljust(512, b"\0")
    (tmp_path / "a").write_bytes(data + header("b") + END)
    unpack(tmp_path / "a", tmp_path / "out")
    assert contents(tmp_path / "out") == {"a": b"abc", "b": b""}


def make_folders(kind: str, count: int) -> bytes:
    names = [f"{number}/" for number in range(count)]
    if kind == "zip":
        return make_zip(dict.fromkeys(names, b""))
    tar = b"".join(header(name, tarfile.DIRTYPE) for name in names) + END
    return COMPRESSIONS[kind](tar)


@pytest.mark.parametrize("kind", MAKERS)
def test_folders_count_as_entries_and_as_a_block_each(tmp_path: Path, kind: str) -> None:
    """69 kB became 124,000 folders, and 501 MB of the disk."""
    data = make_folders(kind, 30)
    assert refusal(tmp_path, data, ArchiveLimits(max_entries=29)) is ProblemCode.TOO_MANY_ENTRIES
    assert refusal(tmp_path, data, ArchiveLimits(max_bytes=30 * 4096 - 1)) is ProblemCode.TOO_MANY_BYTES
    (tmp_path / "a").write_bytes(data)
    assert unpack(tmp_path / "a", tmp_path / "out", ArchiveLimits(max_entries=30)) == []
    assert len(list((tmp_path / "out").iterdir())) == 30


@pytest.mark.parametrize("kind", MAKERS)
def test_folders_that_only_occur_in_a_path_count_too(tmp_path: Path, kind: str) -> None:
    """The longest path makes 31; `A` and `a` are two folders."""
    data = MAKERS[kind]({"a/" * 31 + "1.png": b"x", "A/" * 31 + "2.png": b"x"})
    assert refusal(tmp_path, data, ArchiveLimits(max_entries=63)) is ProblemCode.TOO_MANY_ENTRIES
    assert refusal(tmp_path, data, ArchiveLimits(max_bytes=64 * 4096 - 1)) is ProblemCode.TOO_MANY_BYTES
    (tmp_path / "a").write_bytes(data)
    assert unpack(tmp_path / "a", tmp_path / "out", ArchiveLimits(max_entries=64)) == []


@pytest.mark.parametrize("kind", MAKERS)
def test_files_take_a_block_however_small(tmp_path: Path, kind: str) -> None:
    data = MAKERS[kind]({f"{number}.png": b"x" for number in range(30)})
    assert refusal(tmp_path, data, ArchiveLimits(max_bytes=30 * 4096)) is ProblemCode.TOO_MANY_BYTES
