"""Data sets out and in again: filtered by their columns, downloaded, uploaded, the same."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import anyio
import pytest
from starlette.types import Message

from app.datasets import routes
from models.data.store import Store
from tests.integration.app.conftest import Front, http_scope, picture


def _table_of_patients() -> bytes:
    """Forty images of ten patients of two sites; a table names class, patient, site and age."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        rows = ["file;diagnosis;patient;meta:Site;meta:age;note"]
        for n in range(40):
            file.writestr(f"{n % 2}/{n}.png", picture(n))
            site = "" if n // 4 == 9 else ("Bern", "Genève")[n // 4 % 2]
            rows.append(f"{n % 2}/{n}.png;{('ill', 'well')[n % 2]};p{n // 4};{site};{30 + n // 4},")
        file.writestr("patients.csv", "\n".join(rows).replace(",", ";"))
    return buffer.getvalue()


def test_a_download_that_the_client_has_is_not_sent_again(front: Front) -> None:
    url = f"/datasets/{front.dataset()}/download"
    etag = front.client.get(url).headers["ETag"]
    answer = front.client.get(url, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")


def test_a_data_set_that_is_not_ready_cannot_be_downloaded(front: Front) -> None:
    archive = {"file": ("mine.zip", _table_of_patients())}
    dataset = front.client.post("/datasets", data={"name": "mine"}, files=archive).json()
    answer = front.client.get(f"/datasets/{dataset['id']}/download")
    assert (answer.status_code, answer.json()["code"]) == (409, "dataset-not-ready")


def test_a_client_that_disconnects_ends_its_download(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    events = list[str]()

    def blocks(store: Store) -> Iterator[bytes]:
        try:
            for _ in range(1000):
                yield b"block"
        finally:
            events.append("closed")

    monkeypatch.setattr(routes, "download", blocks)
    scope = http_scope("GET", f"/datasets/{front.dataset()}/download")

    async def run() -> None:
        sent, begun = list[Message](), anyio.Event()

        async def receive() -> Message:
            await begun.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)
            if message.get("body"):
                begun.set()
            await anyio.lowlevel.checkpoint()

        await front.app(scope, receive, send)
        assert len(sent) < 100
        await anyio.sleep(0.1)

    anyio.run(run)
    assert events == ["closed"]
