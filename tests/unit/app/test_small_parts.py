"""Limits, media types, the kept forward check, the shape of an event, abandoned uploads."""

import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.datasets.samples import media_type
from app.datasets.uploads import Spool
from app.jobs.event_stream import accepts_stream, frame
from app.operations.health import FORWARD_SECONDS, ForwardCheck
from app.operations.limits import FRAMING, limit_of
from app.operations.problems_routes import storage_error
from core.settings import Settings
from masktune.contract.base import rfc3339
from masktune.contract.jobs import LogEvent
from tests.machine import needs


@pytest.mark.parametrize(
    ("method", "path", "kind", "expected"),
    [
        ("POST", "/datasets", "multipart/form-data; boundary=x", 5_000 + FRAMING),
        ("POST", "/datasets", "application/json", 2_000),
        ("POST", "/models", "multipart/form-data; boundary=x", 5_000 + FRAMING),
        ("POST", "/predict", "multipart/form-data; boundary=x", 3_000 * 4 + FRAMING),
        ("POST", "/predict", "image/png", 3_000),
        ("POST", "/saliency", "text/plain", 3_000),
        ("POST", "/jobs/erm", "multipart/form-data", 2_000),
        ("POST", "/datasets", "", 2_000),
        ("PUT", "/datasets", "multipart/form-data", 2_000),
    ],
)
def test_each_kind_of_body_has_its_limit(method: str, path: str, kind: str, expected: int) -> None:
    settings = Settings(
        max_body_bytes=2_000, max_upload_bytes=5_000, max_image_bytes=3_000, max_images_per_request=4
    )
    scope = {"type": "http", "method": method, "path": path, "headers": [(b"content-type", kind.encode())]}
    assert limit_of(settings)(scope) == expected


@pytest.mark.parametrize(("memory", "most"), [(7_000, 7_000), (2_000, 3_000), (50_000, 12_000)])
def test_a_form_holds_no_more_images_than_memory_does(memory: int, most: int) -> None:
    """But one image always."""
    settings = Settings(max_image_bytes=3_000, max_images_per_request=4, predict_image_bytes=memory)
    kind = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": kind}
    assert limit_of(settings)(scope) == most + FRAMING


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\nrest", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"<svg onload=alert(1)>", "application/octet-stream"),
        (b"<html>", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_the_content_decides_the_media_type(data: bytes, kind: str) -> None:
    assert media_type(data) == kind


def test_a_passed_forward_check_is_kept_and_a_failed_one_is_not() -> None:
    now, runs, broken = 0.0, 0, True

    def run() -> None:
        nonlocal runs
        runs += 1
        if broken:
            raise RuntimeError

    check = ForwardCheck(run, clock=lambda: now)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            check()
    broken = False
    check()
    check()
    assert runs == 3
    now = FORWARD_SECONDS + 1
    check()
    assert runs == 4


def test_an_event_is_one_line_of_data() -> None:
    told = frame(LogEvent(id=7, type="log", at=0.0, data={"message": "a\nb\rc"})).decode()
    assert told.startswith("id: 7\nevent: log\ndata: {")
    assert told.count("\n") == 4
    assert "\r" not in told


@pytest.mark.parametrize(
    ("accept", "stream"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/event-stream", True),
        ("text/event-stream;q=0.9, application/json", True),
    ],
)
def test_who_asks_for_a_stream_gets_one(accept: str, stream: bool) -> None:
    assert accepts_stream(accept) is stream


def test_times_are_utc() -> None:
    assert rfc3339(datetime.fromtimestamp(0.5, UTC)) == "1970-01-01T00:00:00.500Z"


def test_a_full_disk_is_told_as_one() -> None:
    needs("/dev/full")
    spool = Spool(Path("/dev/full"))
    spool.write(b"x" * 100)
    with pytest.raises(OSError, match="space") as failed:
        spool.close()
    found = storage_error(failed.value)
    assert found is not None
    assert found.status == 507


def test_a_store_that_may_not_be_written_is_told_and_other_faults_are_not() -> None:
    for number in (errno.EROFS, errno.EACCES, errno.EPERM):
        found = storage_error(OSError(number, "no"))
        assert found is not None
        assert (found.code, found.status) == ("storage-not-writable", 507)
    assert storage_error(OSError(errno.EIO, "no")) is None
