"""Archives: honest ones come out whole, hostile ones are refused whole and leave nothing."""

from __future__ import annotations

import gzip
import io
import random
import stat
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


MAKERS: Mapping[str, Callable[[Mapping[str, bytes]], bytes]] = {
    "zip": make_zip,
    "tar": make_tar,
    "tar.gz": lambda files: gzip.compress(make_tar(files)),
    "tar.zst": lambda files: zstandard.compress(make_tar(files)),
}


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


@pytest.mark.parametrize("kind", MAKERS)
def test_an_honest_archive_comes_out_whole(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "a"
    archive.write_bytes(MAKERS[kind](FILES))
    assert unpack(archive, tmp_path / "out") == []
    assert contents(tmp_path / "out") == FILES


@pytest.mark.parametrize("kind", MAKERS)
def test_junk_is_left_out_and_named(tmp_path: Path, kind: str) -> None:
    junk = {"__MACOSX/cats/._1.png": b"j", "cats/.DS_Store": b"j", "Thumbs.db": b"j"}
    archive = tmp_path / "a"
    archive.write_bytes(MAKERS[kind](FILES | junk))
    assert {rejection.path for rejection in unpack(archive, tmp_path / "out")} == junk.keys()
    assert contents(tmp_path / "out") == FILES


HOSTILE_NAMES = {
    "../evil.png": ProblemCode.CLIMBING_NAME,
    "cats/../../evil.png": ProblemCode.CLIMBING_NAME,
    "..\\evil.png": ProblemCode.CLIMBING_NAME,
    "/etc/passwd": ProblemCode.ABSOLUTE_NAME,
    "C:/windows/evil.png": ProblemCode.ABSOLUTE_NAME,
    "c:evil.png": ProblemCode.ABSOLUTE_NAME,
    "\\\\host\\share": ProblemCode.ABSOLUTE_NAME,
    "cats\\evil.png": ProblemCode.BAD_NAME,
    "cats/\x1b[31m.png": ProblemCode.BAD_NAME,
    "cats/a\u202egnp.exe": ProblemCode.BAD_NAME,
    "cats/a\u2028b.png": ProblemCode.BAD_NAME,
    "cats/a\u200fb.png": ProblemCode.BAD_NAME,
    "a/" * 40 + "x.png": ProblemCode.BAD_NAME,
    "x" * 300: ProblemCode.BAD_NAME,
    "inner.zip": ProblemCode.NESTED_ARCHIVE,
    "a/inner.TAR.GZ": ProblemCode.NESTED_ARCHIVE,
    "CATS/1.png": ProblemCode.DUPLICATE_NAME,
    "./cats//1.png": ProblemCode.DUPLICATE_NAME,
    "dogs/a\u0308 1.png": ProblemCode.DUPLICATE_NAME,
    "cats": ProblemCode.DUPLICATE_NAME,
    "cats/1.png/x.png": ProblemCode.DUPLICATE_NAME,
}


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_hostile_names(tmp_path: Path, kind: str, name: str) -> None:
    assert refusal(tmp_path, MAKERS[kind](FILES | {name: b"data"})) is HOSTILE_NAMES[name]


def test_names_that_differ_only_after_full_case_folding_are_two(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(make_zip({"cats/strasse.png": b"x", "cats/straße.png": b"y"}))
    unpack(tmp_path / "archive", tmp_path / "out")
    assert len(list((tmp_path / "out" / "cats").iterdir())) == 2


def test_a_nul_in_a_zip_name_is_seen(tmp_path: Path) -> None:
    data = make_zip({"cats/1.png@.exe": b"x"}).replace(b"1.png@", b"1.png\0")
    assert refusal(tmp_path, data) is ProblemCode.BAD_NAME


@pytest.mark.parametrize(
    "inner",
    [make_zip({"a": b"b"}), gzip.compress(b"x"), make_tar({"a": b"b"})],
    ids=["zip", "gzip", "tar"],  # a packed time would make another name in each process of tests
)
def test_a_nested_archive_under_a_false_name(tmp_path: Path, inner: bytes) -> None:
    assert refusal(tmp_path, make_tar({"cats/1.png": inner})) is ProblemCode.NESTED_ARCHIVE


def test_office_documents_are_no_nested_archives(tmp_path: Path) -> None:
    names = ("notes.docx", "slides.PPTX", "labels.xlsx", "cats/labels.ods")
    (tmp_path / "upload").write_bytes(make_zip(dict.fromkeys(names, make_zip({"a": b"b"}))))
    assert unpack(tmp_path / "upload", tmp_path / "out") == []
    assert {path.name for path in (tmp_path / "out").rglob("*.*")} == {name.split("/")[-1] for name in names}


def test_links_in_a_zip(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert refusal(tmp_path, buffer.getvalue()) is ProblemCode.LINK


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (tarfile.SYMTYPE, ProblemCode.LINK),
        (tarfile.LNKTYPE, ProblemCode.LINK),
        (tarfile.FIFOTYPE, ProblemCode.SPECIAL_FILE),
        (tarfile.CHRTYPE, ProblemCode.SPECIAL_FILE),
        (tarfile.GNUTYPE_SPARSE, ProblemCode.SPECIAL_FILE),
    ],
)
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes, code: ProblemCode) -> None:
    info = tarfile.TarInfo("cats/1.png")
    info.type, info.linkname = kind, "/etc/passwd"
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    assert refusal(tmp_path, data) is code


@pytest.mark.parametrize("kind", MAKERS)
def test_limits_of_entries_and_bytes(tmp_path: Path, kind: str) -> None:
    data = MAKERS[kind](FILES)
    assert refusal(tmp_path, data, ArchiveLimits(max_entries=3)) is ProblemCode.TOO_MANY_ENTRIES
    assert refusal(tmp_path, data, ArchiveLimits(max_bytes=3000)) is ProblemCode.TOO_MANY_BYTES


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.zst"])
def test_a_bomb_by_its_ratio(tmp_path: Path, kind: str) -> None:
    data = MAKERS[kind]({"a.bmp": bytes(4 << 20)})
    assert (
        refusal(tmp_path, data, ArchiveLimits(max_ratio=100, ratio_grace=1 << 20)) is ProblemCode.WRONG_RATIO
    )


def test_a_zip_that_lies_about_its_sizes_is_counted(tmp_path: Path) -> None:
    data = make_zip({"a.bmp": bytes(1 << 20)})
    lying = data.replace(struct.pack("<L", 1 << 20), struct.pack("<L", 10))
    assert lying != data
    assert refusal(tmp_path, lying) is ProblemCode.DAMAGED_ARCHIVE


def test_overlapping_entries(tmp_path: Path) -> None:
    data = bytearray(make_zip({"a": b"x" * 500, "b": b"y" * 500}, zipfile.ZIP_STORED))
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    struct.pack_into("<L", data, second + 42, 0)  # the second entry points at the first one's bytes
    assert refusal(tmp_path, bytes(data)) is ProblemCode.OVERLAPPING_ENTRIES


def test_encrypted_and_unusual_compression(tmp_path: Path) -> None:
    data = bytearray(make_zip({"a": b"x"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert refusal(tmp_path, bytes(data)) is ProblemCode.ENCRYPTED
    data = bytearray(make_zip({"a": b"x" * 100}, zipfile.ZIP_BZIP2))
    assert refusal(tmp_path, bytes(data)) is ProblemCode.UNSUPPORTED_COMPRESSION


def test_a_giant_extended_header_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    assert refusal(tmp_path, info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)) is ProblemCode.BAD_NAME


@pytest.mark.parametrize("data", [b"", b"<html>", b"\x89PNG\r\n\x1a\n" + bytes(600)])
def test_what_is_no_archive_is_refused_as_one(tmp_path: Path, data: bytes) -> None:
    assert refusal(tmp_path, data) is ProblemCode.NOT_AN_ARCHIVE


def test_gzip_of_no_tar(tmp_path: Path) -> None:
    assert refusal(tmp_path, gzip.compress(b"hello" * 400)) is ProblemCode.DAMAGED_ARCHIVE


def test_a_tar_cut_between_two_members_is_truncated(tmp_path: Path) -> None:
    whole = make_tar({"a": b"x" * 512, "b": b"y" * 512})
    assert refusal(tmp_path, whole[:1024]) is ProblemCode.DAMAGED_ARCHIVE


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
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@ANY_PATH
@given(
    kind=st.sampled_from(sorted(MAKERS)),
    seed=st.integers(0, 1 << 30),
    cut=st.floats(0.05, 0.999),
    flips=st.integers(0, 4),
)
def test_damage_never_escapes_and_never_lies(
    tmp_path: Path, kind: str, seed: int, cut: float, flips: int
) -> None:
    """Truncated or with bytes changed: refused with a code, or what comes out lies inside."""
    whole = bytearray(MAKERS[kind](FILES))
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
    (folder / "archive").write_bytes(MAKERS[kind](dict.fromkeys(names, b"data")))
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


def test_a_sparse_file_of_the_newer_kind(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a.bmp")
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.realsize": "99999999999",
        }
        archive.addfile(info)
    assert refusal(tmp_path, buffer.getvalue()) is ProblemCode.SPECIAL_FILE


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
