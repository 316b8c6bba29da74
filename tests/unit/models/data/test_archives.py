"""Archives: honest ones come out whole, others leave nothing; each kind of hostile one is in tests/corpus."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.data.archives import ArchiveError, ArchiveLimits, unpack
from models.data.report import ImportStopped, ProblemCode

FILES = {"cats/1.png": b"meow" * 100, "cats/2.png": b"", "dogs/ä 1.png": b"woof", "read me.txt": b"x" * 3000}


def make_zip(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = name
            info.compress_type = compression
            archive.writestr(info, data)
    return buffer.getvalue()


def make_tar(files: Mapping[str, bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


PACKED: Mapping[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.zst": zstandard.compress,
}
KINDS = ["zip", *PACKED]


def made(kind: str, files: Mapping[str, bytes]) -> bytes:
    return make_zip(files) if kind == "zip" else PACKED[kind](make_tar(files))


def refusal(tmp_path: Path, data: bytes, limits: ArchiveLimits | None = None) -> ProblemCode:
    """The code of the refusal; nothing may be left, inside the target or beside it."""
    folder = tmp_path / "sealed"
    folder.mkdir(exist_ok=True)
    archive = folder / "archive"
    archive.write_bytes(data)
    with pytest.raises(ArchiveError) as refused:
        unpack(archive, folder / "out", limits)
    assert [path.name for path in folder.iterdir()] == ["archive"]
    assert refused.value.problem.detail
    assert str(tmp_path) not in refused.value.problem.detail
    return refused.value.problem.code


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_junk_is_left_out_and_named(tmp_path: Path, kind: str) -> None:
    junk = {"__MACOSX/cats/._1.png": b"j", "cats/.DS_Store": b"j", "Thumbs.db": b"j"}
    archive = tmp_path / "a"
    archive.write_bytes(made(kind, FILES | junk))
    assert {rejection.path for rejection in unpack(archive, tmp_path / "out")} == junk.keys()
    assert contents(tmp_path / "out") == FILES


def test_office_documents_are_no_nested_archives(tmp_path: Path) -> None:
    names = ("notes.docx", "slides.PPTX", "labels.xlsx", "cats/labels.ods")
    lock = {"~$labels.xlsx": b"lock"}
    (tmp_path / "upload").write_bytes(make_zip(dict.fromkeys(names, make_zip({"a": b"b"})) | lock))
    assert {junk.path for junk in unpack(tmp_path / "upload", tmp_path / "out")} == lock.keys()
    assert {path.name for path in (tmp_path / "out").rglob("*.*")} == {name.split("/")[-1] for name in names}


@pytest.mark.parametrize("kind", KINDS)
def test_limits_of_entries_and_bytes(tmp_path: Path, kind: str) -> None:
    data = made(kind, FILES)
    assert refusal(tmp_path, data, ArchiveLimits(max_entries=3)) is ProblemCode.TOO_MANY_ENTRIES
    assert refusal(tmp_path, data, ArchiveLimits(max_bytes=3000)) is ProblemCode.TOO_MANY_BYTES


def test_stopping_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(make_zip(FILES))
    with pytest.raises(ImportStopped):
        unpack(tmp_path / "a.zip", tmp_path / "out", should_stop=lambda: True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_an_existing_target_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(make_zip(FILES))
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out").exists()


ANY_PATH = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@ANY_PATH
@given(
    kind=st.sampled_from(sorted(KINDS)),
    seed=st.integers(0, 1 << 30),
    cut=st.floats(0.05, 0.999),
    flips=st.integers(0, 4),
)
def test_damage_never_escapes_and_never_lies(
    tmp_path: Path, kind: str, seed: int, cut: float, flips: int
) -> None:
    """Truncated or with bytes changed: refused with a code, or what comes out lies inside."""
    whole = bytearray(made(kind, FILES))
    rng = random.Random(seed)
    for _ in range(flips):
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    data = bytes(whole) if flips else bytes(whole[: int(len(whole) * cut)])
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    (folder / "archive").write_bytes(data)
    try:
        unpack(folder / "archive", folder / "out")
    except ArchiveError:
        assert not (folder / "out").exists()
    else:
        assert {path.name for path in folder.iterdir()} == {"archive", "out"}
        if not flips:
            assert contents(folder / "out") == FILES


@ANY_PATH
@given(
    kind=st.sampled_from(["zip", "tar"]),
    names=st.lists(
        st.text(st.sampled_from("ab./\\:\0éÉ ~\n"), min_size=1, max_size=8), min_size=1, max_size=4
    ),
)
def test_no_name_leads_outside(tmp_path: Path, kind: str, names: list[str]) -> None:
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    (folder / "archive").write_bytes(made(kind, dict.fromkeys(names, b"data")))
    try:
        unpack(folder / "archive", folder / "out")
    except ArchiveError:
        assert not (folder / "out").exists()
    assert {path.name for path in folder.iterdir()} <= {"archive", "out"}


def with_zip64_end(data: bytes) -> bytes:
    """The same zip with the end records of large ones (APPNOTE 4.3.14 and 4.3.15)."""
    end = data.rindex(b"PK\x05\x06")
    count, size, offset = struct.unpack("<H2L", data[end + 10 : end + 20])
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    plain = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:end] + end64 + locator + plain


def test_a_large_zip_is_read_by_its_large_end(tmp_path: Path) -> None:
    data = with_zip64_end(make_zip(FILES))
    (tmp_path / "a").write_bytes(data)
    unpack(tmp_path / "a", tmp_path / "out")
    assert contents(tmp_path / "out") == FILES
    assert refusal(tmp_path, data, ArchiveLimits(max_entries=3)) is ProblemCode.TOO_MANY_ENTRIES
    assert refusal(tmp_path, data.replace(b"PK\x06\x06", b"PK\x06\x05")) is ProblemCode.DAMAGED_ARCHIVE


def test_folders_without_files_come_out_too(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in (".", "./val", "./__MACOSX"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    (tmp_path / "a.zip").write_bytes(make_zip({"val/": b""}))
    for name in ("a.tar", "a.zip"):
        assert unpack(tmp_path / name, tmp_path / f"{name}.out") == []
        assert [path.name for path in (tmp_path / f"{name}.out").iterdir()] == ["val"]


# what the headers and folders of an archive count as; small bombs are in tests/corpus

END = bytes(2 * tarfile.BLOCKSIZE)
PAX_KINDS = [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE]


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
    return PACKED[kind](tar)


@pytest.mark.parametrize("kind", KINDS)
def test_folders_count_as_entries_and_as_a_block_each(tmp_path: Path, kind: str) -> None:
    """69 kB became 124,000 folders, and 501 MB of the disk."""
    data = make_folders(kind, 30)
    assert refusal(tmp_path, data, ArchiveLimits(max_entries=29)) is ProblemCode.TOO_MANY_ENTRIES
    assert refusal(tmp_path, data, ArchiveLimits(max_bytes=30 * 4096 - 1)) is ProblemCode.TOO_MANY_BYTES
    (tmp_path / "a").write_bytes(data)
    assert unpack(tmp_path / "a", tmp_path / "out", ArchiveLimits(max_entries=30)) == []
    assert len(list((tmp_path / "out").iterdir())) == 30


@pytest.mark.parametrize("kind", KINDS)
def test_folders_that_only_occur_in_a_path_count_too(tmp_path: Path, kind: str) -> None:
    """The longest path makes 31; `A` and `a` are two folders."""
    data = made(kind, {"a/" * 31 + "1.png": b"x", "A/" * 31 + "2.png": b"x"})
    assert refusal(tmp_path, data, ArchiveLimits(max_entries=63)) is ProblemCode.TOO_MANY_ENTRIES
    assert refusal(tmp_path, data, ArchiveLimits(max_bytes=64 * 4096 - 1)) is ProblemCode.TOO_MANY_BYTES
    (tmp_path / "a").write_bytes(data)
    assert unpack(tmp_path / "a", tmp_path / "out", ArchiveLimits(max_entries=64)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_files_take_a_block_however_small(tmp_path: Path, kind: str) -> None:
    data = made(kind, {f"{number}.png": b"x" for number in range(30)})
    assert refusal(tmp_path, data, ArchiveLimits(max_bytes=30 * 4096)) is ProblemCode.TOO_MANY_BYTES
