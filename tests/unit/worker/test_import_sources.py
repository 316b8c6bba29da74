"""What an import reads, where it is allowed to, and what it copies of a table of paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import JobError
from core.settings import Settings
from masktune.contract.ids import new_id
from masktune.contract.job_params import ImportParams
from models.data.report import FileCode
from tests.support.import_context import import_context
from worker.import_sources import ImportSource, below, source_of
from worker.protocol import DatasetSpec

LIMIT = 2000  # bytes of an image


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """An allowed folder `in` with images and a pipe, and one `out` that is not; the contents do not matter
    here."""
    for name in ("in/1.png", "in/day/2.png", "in/notes.txt", "in/page", "out/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with (tmp_path / "in/huge.png").open("wb") as huge:
        huge.truncate(3 << 30)  # without a block on the disk
    (tmp_path / "in/link.png").symlink_to(tmp_path / "out/3.png")
    os.mkfifo(tmp_path / "in/pipe.png")
    return tmp_path


def source(places: Path, source: dict[str, str], **changes: Any) -> ImportSource:
    """What an import of this source reads; `changes` override the settings."""
    options = changes.pop("options", {})
    usual: dict[str, Any] = {"allowed_sources": f"file://{places}/in", "max_image_bytes": LIMIT}
    settings = Settings(data_dir=places / "var", **usual | changes)
    dataset = DatasetSpec(new_id("ds"), "lunch", source, None, ())
    context = import_context(settings, dataset, ImportParams(format="unlabelled", options=options))
    return source_of(context, dataset)


def listed(places: Path, rows: Sequence[str], name: str = "in/table.csv", **changes: Any) -> ImportSource:
    """What an import reads of a table of these rows."""
    (places / name).write_text("\n".join(["path,note", *(f"{row},n" for row in rows)]))
    return source(places, {"address": f"file://{places}/{name}"}, **changes)


def copied(source: ImportSource) -> set[str]:
    folder = source.path
    assert isinstance(folder, Path)
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rejected(source: ImportSource) -> dict[str, FileCode]:
    return {rejection.path: rejection.code for rejection in source.rejected}


def test_a_table_names_images_by_address_or_by_a_path_beside_it(places: Path) -> None:
    address = f"{places}/in/1.png"
    read = listed(places, ["day/2.png", f"file://{address}"])
    assert copied(read) == {"day/2.png", address.lstrip("/")}
    assert read.rejected == []


def test_a_parquet_table_with_a_column_of_another_name(places: Path) -> None:
    pq.write_table(pa.table({"scan": ["1.png"], "age": [7]}), places / "in/table.parquet")
    at = {"address": f"file://{places}/in/table.parquet"}
    assert copied(source(places, at, options={"path": "scan"})) == {"1.png"}
    with pytest.raises(JobError, match="none of which names the files: rename that to path"):
        source(places, at)


def test_entries_outside_the_allowed_places_are_named_and_not_read(places: Path) -> None:
    outside = [f"file://{places}/out/3.png", "s3://bucket/4.png", "http://host/5.png", "link.png"]
    read = listed(
        places, ["1.png", *outside, "../out/3.png", "/etc/6.png", f"file://{places}/in/../out/3.png"]
    )
    assert copied(read) == {"1.png"}
    assert set(rejected(read).values()) == {FileCode.BAD_PATH}
    assert [path.rpartition("/")[2] for path in rejected(read)] == [
        *("3.png", "4.png", "5.png", "link.png"),
        *("3.png", "6.png", "3.png"),
    ]
    assert "MASKTUNE_ALLOWED_SOURCES" in read.rejected[0].detail
    assert "below the folder of the table" in read.rejected[-1].detail


def test_a_second_address_in_an_entry_is_a_part_of_its_name(places: Path) -> None:
    read = listed(places, [f"file://{places}/in/1.png::file://{places}/out/3.png"])
    assert (copied(read), set(rejected(read).values())) == (set(), {FileCode.MISSING_FILE})


def test_entries_that_are_no_images_are_named(places: Path) -> None:
    names = ["1.png", "1.png", "2.png", "notes.txt", "page", "day", "1.png/2.png", "huge.png", "pipe.png"]
    read = listed(places, names)
    assert copied(read) == {"1.png"}
    assert [(rejection.path, rejection.code) for rejection in read.rejected] == [
        ("1.png", FileCode.LISTED_TWICE),
        ("2.png", FileCode.MISSING_FILE),
        ("notes.txt", FileCode.UNSUPPORTED_TYPE),
        ("page", FileCode.UNSUPPORTED_TYPE),
        ("day", FileCode.UNSUPPORTED_TYPE),
        ("1.png/2.png", FileCode.MISSING_FILE),
        ("huge.png", FileCode.TOO_LARGE),
        ("pipe.png", FileCode.MISSING_FILE),
    ]


def test_an_uploaded_table_lies_in_no_folder(places: Path) -> None:
    upload = places / "var/artifacts/uploads/ds_1"
    upload.mkdir(parents=True)
    (upload / "archive").write_text(f"path\nfile://{places}/in/1.png\n2.png\n")
    (upload / ".complete").write_text("1")
    read = source(places, {"upload": "uploads/ds_1"})
    assert copied(read) == {f"{places}/in/1.png".lstrip("/")}
    assert rejected(read) == {"2.png": FileCode.BAD_PATH}


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"max_archive_entries": 1}, "1 files (MASKTUNE_MAX_ARCHIVE_ENTRIES)"),
        ({"max_upload_bytes": 1024}, "1024 bytes (MASKTUNE_MAX_UPLOAD_BYTES)"),
    ],
)
def test_a_table_of_too_many_files_or_bytes_is_refused(
    places: Path, changes: dict[str, Any], limit: str
) -> None:
    (places / "in/1.png").write_bytes(bytes(LIMIT))
    with pytest.raises(JobError, match="holds more than the limit") as refused:
        listed(places, ["1.png", "day/2.png"], **changes)
    assert (refused.value.reason, limit in str(refused.value)) == ("source_too_large", True)


def test_a_file_that_is_no_table_is_refused(places: Path) -> None:
    (places / "in/table.csv").write_bytes(b"\xff\x00\xfe" * 100)
    with pytest.raises(JobError, match="no archive, and no table of paths can be read in it: ") as refused:
        source(places, {"address": f"file://{places}/in/table.csv"})
    assert refused.value.reason == "table_unusable"


def test_an_allowed_folder_is_read_in_place(places: Path) -> None:
    read = source(places, {"address": f"file://{places}/in"})
    assert read == (places / "in", [])


@pytest.mark.parametrize("name", ["gone", "pipe.png"])
def test_what_is_no_file_or_folder_any_more(places: Path, name: str) -> None:
    with pytest.raises(JobError, match="there is no file or folder at this address") as refused:
        source(places, {"address": f"file://{places}/in/{name}"})
    assert refused.value.reason == "source_unavailable"


@pytest.mark.parametrize(
    ("address", "prefix", "allowed"),
    [
        ("file:///data/birds", "file:///data/", True),
        ("file:///data/birds", "file:///data", True),
        ("file:///data-private/birds", "file:///data", False),
        ("file:///data/../etc", "file:///data", False),
        ("file:///data", "s3://data", False),
        ("s3://bucket/set/a.zip", "s3://bucket/set/", True),
        ("s3://bucket/settings", "s3://bucket/set", False),
        ("s3://bucket/set/../other", "s3://bucket/set", False),
    ],
)
def test_addresses_below_a_prefix(address: str, prefix: str, allowed: bool) -> None:
    assert below(address, prefix) is allowed


def test_a_link_out_of_the_allowed_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in/link").symlink_to(tmp_path / "out")
    assert not below(f"file://{tmp_path}/in/link", f"file://{tmp_path}/in")
