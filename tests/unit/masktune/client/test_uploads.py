"""Bodies that are read while they are sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from masktune import NotSent, ProblemError, TooLarge, Unreachable
from masktune.client.datasets import upload_dataset
from masktune.client.models import import_model
from masktune.client.transfers import ASKED_ABOVE, STORED_SECONDS, CountedFile, ZippedFolder
from masktune.client.wire import Flow
from masktune.contract import upload_files
from models.data.formats.manifest import LIST_SUFFIXES
from models.data.images.image_types import TYPES
from tests.support import answers
from tests.unit.masktune.client.conftest import Runner, Script, blocking

LIMITS = answers.LIMITS | {"max_upload_bytes": ASKED_ABOVE + 5}
DATASET = answers.DATASET | {"state": "importing"}


def multipart(request: httpx2.Request, body: bytes) -> dict[str, bytes]:
    """The fields of a form, by name."""
    boundary = request.headers["Content-Type"].partition("boundary=")[2].encode()
    fields = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.strip(b"\r\n").partition(b"\r\n\r\n")
        fields[head.partition(b'name="')[2].partition(b'"')[0].decode()] = content
    return fields


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "birds/a").mkdir(parents=True)
    (tmp_path / "birds/a/1.png").write_bytes(b"x" * 100_000)
    (tmp_path / "birds/b.png").write_bytes(b"y" * 5)
    (tmp_path / "birds/.git").mkdir()
    (tmp_path / "birds/.git/secret").write_bytes(b"z")
    return tmp_path / "birds"


def test_a_folder_is_a_zip_whatever_the_size_of_the_reads(folder: Path) -> None:
    whole = ZippedFolder(folder, None).read()
    again, pieces = ZippedFolder(folder, None), []
    while piece := again.read(777):
        pieces.append(piece)
    assert b"".join(pieces) == whole
    assert {len(piece) for piece in pieces[:-1]} == {777}
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.namelist() == ["a/1.png", "b.png"]
        assert archive.read("a/1.png") == b"x" * 100_000
        assert archive.testzip() is None


LISTS = "labels.xlsx metadata.jsonl export.json data/train-00000-of-00001.parquet annotations.xml classes.txt"


@pytest.mark.parametrize("name", [*LISTS.split(), "scan.dcm", "IMG_1.HEIC", "no_suffix"])
def test_lists_and_images_of_every_format_go_along(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"content")
    with zipfile.ZipFile(io.BytesIO(ZippedFolder(folder, None).read())) as archive:
        assert archive.read(name) == b"content"


def test_a_folder_counts_its_files_bytes(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    zipped = ZippedFolder(folder, lambda sent, total: told.append((sent, total)))
    zipped.read()
    zipped.close()
    assert told == [(100_000, 100_005), (100_005, 100_005)]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("birds/.hidden", b"x", "birds holds neither images nor a table"),
        ("birds/notes.docx", b"x", "birds holds neither images nor a table"),
        ("birds/1.JPG", b"x", "birds holds images side by side"),
        ("a.docx", b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", "a.docx is an office document"),
        ("a.pdf", b"%PDF-1.7", "a.pdf is a PDF document"),
        ("a.zip", b"\x89PNG\r\n\x1a\n", "a.zip is a single image: send a folder, or an archive"),
        ("a.tar", b"", "a.tar is not an archive"),
    ],
)
def test_files_that_are_no_data_set_are_told_before_anything_is_sent(
    runner: Runner, tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / "birds").mkdir()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotSent, match=reason):
        runner.run(Script([]), upload_dataset(tmp_path / name.partition("/")[0]))


@pytest.mark.parametrize(("name", "content"), [("birds/1.JPG", b"x"), ("paths.csv", b"path\ns3://b/1.png")])
def test_images_without_labels_may_lie_side_by_side_or_be_listed_in_a_table(
    runner: Runner, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / "birds").mkdir()
    (tmp_path / name).write_bytes(content)
    script = Script([httpx2.Response(202, json=DATASET)])
    flow = upload_dataset(tmp_path / name.partition("/")[0], format="unlabelled")
    assert runner.run(script, flow).id == "ds_1"


def test_the_names_of_images_and_tables_are_those_that_the_import_reads() -> None:
    assert set(upload_files.IMAGES) == TYPES.keys()
    assert set(upload_files.TABLES) == LIST_SUFFIXES


def test_a_file_counts_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"abcdef")
    told: list[tuple[int, int]] = []
    file = CountedFile(tmp_path / "a.zip", lambda sent, total: told.append((sent, total)))
    assert (file.read(4), file.read(4), file.read(4)) == (b"abcd", b"ef", b"")
    assert told == [(4, 6), (6, 6)]
    file.close()


def test_an_archive_is_sent_as_it_is_again_after_a_break(runner: Runner, tmp_path: Path) -> None:
    archive = tmp_path / "birds.tar.gz"
    archive.write_bytes(b"\x1f\x8b" + bytes(range(256)) * 1000)
    script = Script([httpx2.ReadError("gone"), httpx2.Response(202, json=DATASET)])
    flow = upload_dataset(archive, format="waterbirds", options={"target": "y"}, seed=3)
    assert runner.run(script, flow).state == "importing"
    for request, body in zip(script.asked, script.bodies, strict=True):
        fields = multipart(request, body)
        assert fields.pop("file") == archive.read_bytes()
        assert fields == {
            "name": b"birds",
            "format": b"waterbirds",
            "seed": b"3",
            "options": b'{"target": "y"}',
        }
        assert int(request.headers["Content-Length"]) == len(body)
    assert script.asked[0].headers["Idempotency-Key"] == script.asked[1].headers["Idempotency-Key"]


def _sends(folder: Path) -> list[Flow[Any]]:
    path = _archive(folder, 5)
    return [upload_dataset(path), import_model(path, backbone="small_cnn", classes=["a", "b"], image_size=28)]


def test_what_is_stored_before_it_is_answered_is_waited_for_and_sent_once(
    runner: Runner, tmp_path: Path
) -> None:
    for send in _sends(tmp_path):
        script = Script([httpx2.ReadTimeout("")])
        with pytest.raises(Unreachable, match="ReadTimeout"):
            runner.run(script, send)
        (request,) = script.asked
        assert request.extensions["timeout"] == {
            "connect": 5,
            "read": STORED_SECONDS,
            "write": 60,
            "pool": 60,
        }


def test_what_never_left_is_sent_again(runner: Runner, tmp_path: Path) -> None:
    for send in _sends(tmp_path):
        script = Script([httpx2.ConnectError("refused"), httpx2.ConnectTimeout(""), httpx2.Response(400)])
        with pytest.raises(ProblemError):
            runner.run(script, send)
        assert len(script.asked) == 3


@pytest.mark.parametrize(("own", "used"), [(7200.0, 7200.0), (1.0, STORED_SECONDS)])
def test_the_longer_of_two_waits_counts(tmp_path: Path, own: float, used: float) -> None:
    script = Script([httpx2.Response(202, json=DATASET)])
    with blocking(script, timeout=own) as client:
        client.datasets.upload(_archive(tmp_path, 5))
    assert script.asked[0].extensions["timeout"]["read"] == used


def test_a_folder_is_sent_chunk_by_chunk(runner: Runner, folder: Path) -> None:
    script = Script([httpx2.Response(503), httpx2.Response(202, json=DATASET)])
    runner.run(script, upload_dataset(folder))
    first, second = (
        multipart(request, body) for request, body in zip(script.asked, script.bodies, strict=True)
    )
    assert first == second
    assert first["name"] == b"birds"
    assert first["file"] == ZippedFolder(folder, None).read()
    assert script.asked[0].headers["Transfer-Encoding"] == "chunked"


def _archive(folder: Path, size: int) -> Path:
    target = folder / "birds.zip"
    target.write_bytes(b"PK\x03\x04" + bytes(size - 4))
    return target


def _zipped(folder: Path, size: int) -> Path:
    target = folder / "birds"
    target.mkdir()
    (target / "a").mkdir()
    (target / "a/1.png").write_bytes(bytes(size - 2))
    (target / "a/2.png").write_bytes(bytes(2))
    return target


@pytest.mark.parametrize("made", [_archive, _zipped])
def test_what_is_too_large_is_not_sent(
    runner: Runner, tmp_path: Path, made: Callable[[Path, int], Path]
) -> None:
    path = made(tmp_path, ASKED_ABOVE + 6)
    sends: list[Flow[Any]] = [
        upload_dataset(path),
        import_model(path, backbone="small_cnn", classes=["a", "b"], image_size=28),
    ]
    for send in sends:
        script = Script([httpx2.Response(200, json=LIMITS)])
        with pytest.raises(TooLarge, match=f"{path.name} is 1.0 MB, .* nothing was sent") as caught:
            runner.run(script, send)
        assert (caught.value.size, caught.value.limit) == (ASKED_ABOVE + 6, ASKED_ABOVE + 5)
        assert [request.url.path for request in script.asked] == ["/limits"]


def test_what_just_fits_is_sent(runner: Runner, tmp_path: Path) -> None:
    script = Script([httpx2.Response(200, json=LIMITS), httpx2.Response(202, json=DATASET)])
    runner.run(script, upload_dataset(_archive(tmp_path, ASKED_ABOVE + 5)))
    assert len(script.bodies[1]) > ASKED_ABOVE


def test_a_small_file_asks_for_no_limits(runner: Runner, tmp_path: Path) -> None:
    script = Script([httpx2.Response(202, json=DATASET)])
    runner.run(script, upload_dataset(_archive(tmp_path, ASKED_ABOVE)))
    assert len(script.asked) == 1
