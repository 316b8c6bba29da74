"""The service itself: start, health, metrics, its own description."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.operations.background import in_background, sweep_periodically
from core.queries import jobs
from core.session import Database, db_now
from core.settings import Settings
from core.tables import JobRow
from tests.integration.app.conftest import Front, Listen, StartFront, running
from tests.openapi import snapshot
from tests.support.waits import wait_until

LAST = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_it_answers_head_as_it_answers_get(front: Front) -> None:
    """All but the body: a client learns of a size or a validator without the rest (RFC 9110, 9.3.2)."""
    front.app.openapi_schema = snapshot()
    dataset = front.dataset()
    paths = [
        "/livez",
        "/limits",
        "/jobs",
        "/docs",
        "/openapi.json",
        "/docs/static/swagger-ui.css",
        "/nowhere",
    ]
    for path in (*paths, f"/datasets/{dataset}", f"/datasets/{dataset}/samples/0/image", "/jobs/erm"):
        whole, head = front.client.get(path), front.client.head(path)
        assert head.status_code == whole.status_code, path
        assert head.content == b"", path
        own = {"x-request-id", "date"}
        assert {n: v for n, v in head.headers.items() if n not in own} == {
            n: v for n, v in whole.headers.items() if n not in own
        }, path
    etag = front.client.head(f"/datasets/{dataset}").headers["ETag"]
    assert front.client.head(f"/datasets/{dataset}", headers={"If-None-Match": etag}).status_code == 304
    told = front.client.get("/metrics").text
    assert 'masktune_requests_total{method="HEAD",route="/datasets/{dataset_id}",status="200"} 2.0' in told


def test_the_head_of_a_stream_is_no_stream(shared_server: Listen) -> None:
    server = shared_server()
    stream = f"HEAD /jobs/{server.job()}/events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
    head, _, behind = server.ask(stream.encode() + LAST).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/event-stream" in head
    assert b"content-length" not in head
    assert behind.startswith(b"HTTP/1.1 200 ")  # the answer of the next request
    assert len(server.services.event_feed) == 0


def test_the_head_of_a_file_has_its_size(shared_server: Listen) -> None:
    path = b"/docs/static/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n"
    server = shared_server()
    head, _, behind = server.ask(b"HEAD " + path + b"\r\n" + LAST).partition(b"\r\n\r\n")
    whole = server.ask(b"GET " + path + b"Connection: close\r\n\r\n").partition(b"\r\n\r\n")[2]
    assert f"content-length: {len(whole)}\r\n".encode() in head
    assert behind.startswith(b"HTTP/1.1 200 ")


def test_it_tells_without_a_key_what_may_be_sent(start: StartFront) -> None:
    front = start(api_keys="read:secret", max_upload_bytes=5_000, max_image_bytes=4_000)
    told = front.client.get("/limits")
    assert told.json()["max_upload_bytes"] == 5_000
    assert told.json()["max_image_bytes"] == 4_000
    assert front.client.get("/datasets").status_code == 401
    again = front.client.get("/limits", headers={"If-None-Match": told.headers["ETag"]})
    assert again.status_code == 304


def test_it_is_ready_when_every_part_works(front: Front) -> None:
    body = front.client.get("/readyz").json()
    assert body["status"] == "ready", body
    assert {part["name"] for part in body["parts"]} == {"database", "broker", "storage", "forward_pass"}


def test_it_says_which_part_fails(start: StartFront, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    front = start(storage_url=f"file://{tmp_path}/file/below", broker_url="redis://127.0.0.1:1/0")
    answer = front.client.get("/readyz")
    body = answer.json()
    assert answer.status_code == body["status"] == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert {part["name"] for part in body["parts"] if not part["ok"]} == {"storage", "broker"}
    assert str(tmp_path) not in answer.text
    assert front.client.get("/livez").status_code == 200


def test_metrics_tell_of_jobs_requests_and_uploads(front: Front) -> None:
    front.job()
    front.client.get("/jobs")
    front.client.post("/datasets", data={"name": "d"}, files={"file": ("a.zip", b"PK\x03\x04" + b"x" * 96)})
    told = front.client.get("/metrics")
    assert told.headers["Content-Type"].startswith("text/plain")
    assert 'masktune_jobs{state="queued"} 2.0' in told.text
    assert 'masktune_jobs{state="failed"} 0.0' in told.text
    assert 'masktune_requests_total{method="GET",route="/jobs",status="200"} 1.0' in told.text
    assert "masktune_upload_bytes_total 100.0" in told.text
    assert "masktune_event_followers 0.0" in told.text


def test_each_application_counts_for_itself(front: Front, tmp_path: Path) -> None:
    front.client.get("/jobs")
    with running(Settings(data_dir=tmp_path / "other")) as other:
        assert 'route="/jobs"' not in other.client.get("/metrics").text


def test_the_front_sweeps(start: StartFront) -> None:
    front = start(sweep_seconds=0.1)
    job = front.job()
    front.claim()
    with front.services.database.begin() as session:
        session.get_one(JobRow, job).lease_until = db_now() - 1

    def queued_again() -> bool:
        with front.services.database.read() as session:
            return jobs.get(session, job).state == "queued"

    wait_until(queued_again)


class Broken(Database):
    """A database with an error that nobody foresaw."""

    begun = 0

    @contextmanager
    def begin(self) -> Iterator[Session]:
        self.begun += 1
        with super().begin() as session:
            yield session
        raise RuntimeError("broken")


def test_the_sweep_goes_on_after_an_error_that_nobody_foresaw(front: Front) -> None:
    often = front.settings.model_copy(update={"sweep_seconds": 0.02})

    async def sweep_until_begun_twice(broken: Broken) -> None:
        async with in_background(sweep_periodically(broken, often)):
            await asyncio.to_thread(wait_until, lambda: broken.begun > 1)

    with closing(Broken(front.settings.database)) as broken:
        asyncio.run(sweep_until_begun_twice(broken))


def test_no_key_no_address_but_loopback(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="refusing to listen"),
        running(Settings(data_dir=tmp_path, host="0.0.0.0")),
    ):
        pass


def test_the_page_of_the_api_needs_no_other_host(shared_front: Front) -> None:
    page = shared_front.client.get("/docs")
    assert page.status_code == 200
    wanted = re.findall(r"""(?:src|href)=["']([^"']+)["']""", page.text)
    assert len(wanted) >= 3
    for address in wanted:
        assert address.startswith("/docs/static/"), address
        assert shared_front.client.get(address).status_code == 200
    assert "/openapi.json" in page.text
