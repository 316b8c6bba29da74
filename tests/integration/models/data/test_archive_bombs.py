"""Small archives that would cost much time, memory or disk: each is refused, or read in linear time."""

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
EXTENDED_KINDS = [*PAX_KINDS, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]
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


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", EXTENDED_KINDS)
def test_an_extended_header_of_a_mebibyte_of_digits_is_not_read(tmp_path: Path, kind: bytes) -> None:
    """1 kB once packed; Python 3.11.7 looks for pax records in it for half an hour (CVE-2024-6232)."""
    bomb = gzip.compress(extended(kind, b"1" * (1 << 20)) + header("a") + END)
    assert len(bomb) < 2000
    assert refusal(tmp_path, bomb) is ProblemCode.BAD_NAME


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", PAX_KINDS)
def test_digits_in_many_small_pax_headers_are_read_in_linear_time(tmp_path: Path, kind: bytes) -> None:
    """Each is as long as allowed and well-formed; `tarfile` took 0.4 s for each."""
    comment = extended(kind, record("comment", b"1" * 16_000))
    names = [str(number) for number in range(200)]
    archive = tmp_path / "a"
    archive.write_bytes(gzip.compress(b"".join(comment + header(name) for name in names) + END))
    assert unpack(archive, tmp_path / "out") == []
    assert contents(tmp_path / "out") == dict.fromkeys(names, b"")


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "payload",
    [
        b"1" * 16_000,
        b"999999 a=b\n",
        b"3 a=b\n",
        b"-7 a=b\n",
        b"0 a=b\n",
        b"7 a=bcd",
        b" a=b\n",
        record("size", b"-1"),
        record("size", b"1" * 5000),
        record("size", b"x"),
    ],
)
def test_a_pax_header_that_is_no_list_of_records_is_damage(tmp_path: Path, payload: bytes) -> None:
    """A length that leads backwards would be read for ever."""
    data = extended(tarfile.XHDTYPE, payload) + header("a") + END
    assert refusal(tmp_path, data) is ProblemCode.DAMAGED_ARCHIVE


def test_the_records_of_a_pax_header_are_counted(tmp_path: Path) -> None:
    """3,000 fit into a header of 16 KiB, which compresses to 60 bytes and would take a millisecond."""
    data = extended(tarfile.XHDTYPE, record("a", b"") * 3000) + header("a") + END
    assert refusal(tmp_path, data) is ProblemCode.BAD_NAME


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", EXTENDED_KINDS)
def test_a_chain_of_extended_headers_is_refused(tmp_path: Path, kind: bytes) -> None:
    """`tarfile` follows it by recursion: 12 kB raised RecursionError, and killed three attempts of a job."""
    data = gzip.compress(extended(kind, record("comment", b"")) * 2000 + header("a") + END)
    assert len(data) < 12_000
    assert refusal(tmp_path, data) is ProblemCode.BAD_NAME


def test_extended_headers_that_nothing_follows_are_damage(tmp_path: Path) -> None:
    data = extended(tarfile.XHDTYPE, record("path", b"a")) + END
    assert refusal(tmp_path, data) is ProblemCode.DAMAGED_ARCHIVE
    assert refusal(tmp_path, data[:512]) is ProblemCode.DAMAGED_ARCHIVE


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "records",
    [
        {"GNU.sparse.size": "9", "GNU.sparse.offset": "1" * 8000, "GNU.sparse.numbytes": "1"},
        {"GNU.sparse.map": "1," * 4000 + "1"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"},
    ],
    ids=["0.0", "0.1", "1.0"],
)
def test_the_map_of_a_sparse_file_is_not_read(tmp_path: Path, records: dict[str, str]) -> None:
    """Each claims what a file of its length cannot hold."""
    payload = b"".join(record(key, value.encode()) for key, value in records.items())
    data = extended(tarfile.XHDTYPE, payload) + header("a") + END
    assert refusal(tmp_path, data) is ProblemCode.SPECIAL_FILE


def test_the_extended_map_of_an_old_sparse_file_is_not_read(tmp_path: Path) -> None:
    """`tarfile` follows its blocks for as long as each says that another follows."""
    block = bytearray(header("a", tarfile.GNUTYPE_SPARSE))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    data = gzip.compress(bytes(block) + b"\1" * (16 << 20))
    assert refusal(tmp_path, data) is ProblemCode.SPECIAL_FILE


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst"])
def test_headers_without_files_are_bounded_by_the_size_of_the_archive(tmp_path: Path, kind: str) -> None:
    """A mebibyte of archive could hold 400,000, at 80 µs each."""
    data = MAKERS[kind](dict.fromkeys((f"._{number}" for number in range(5000)), b""))
    assert len(data) < 5000 * 64
    assert refusal(tmp_path, data) is ProblemCode.TOO_MANY_ENTRIES


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


def test_a_few_kilobytes_of_deep_paths_do_not_fill_the_disk(tmp_path: Path) -> None:
    """500 paths make 15,500 folders."""
    data = MAKERS["tar.gz"]({f"{number}/" + "a/" * 30 + "1.png": b"" for number in range(500)})
    assert len(data) < 10_000
    assert refusal(tmp_path, data) is ProblemCode.TOO_MANY_ENTRIES
