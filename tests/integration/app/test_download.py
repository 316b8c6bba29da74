"""Data sets out and in again: filtered by their columns, downloaded, uploaded, the same."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from starlette.types import Message

from app.datasets import routes
from models.data.store import Store
from tests.integration.app.conftest import Front, http_scope, picture
from tests.integration.worker.inline import run_inline
from worker.runtime import Runtime


def _imported(front: Front, archive: bytes, **options: object) -> dict[str, Any]:
    """The data set of an upload, once its import has ended."""
    fields = {"name": "Scans, Ärzte/2025", "options": json.dumps(options)}
    answer = front.client.post("/datasets", data=fields, files={"file": ("scans.zip", archive)})
    assert answer.status_code == 202, answer.text
    services = front.services
    settings = front.settings.model_copy(update={"threads": 1})
    assert run_inline(Runtime(settings, services.database, services.artifacts))
    dataset: dict[str, Any] = front.client.get(f"/datasets/{answer.json()['id']}").json()
    assert dataset["state"] == "ready", dataset
    return dataset


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


def test_a_table_of_patients_is_filtered_downloaded_and_uploaded_again(front: Front) -> None:
    dataset = _imported(front, _table_of_patients())
    assert dataset["subjects"] == 10
    assert dataset["metadata_columns"] == [
        {
            "name": "Site",
            "kind": "text",
            "distinct": 2,
            "missing": 4,
            "most_frequent": [{"text": "Bern", "n": 20}, {"text": "Genève", "n": 16}],
            "low": None,
            "high": None,
        },
        {
            "name": "age",
            "kind": "number",
            "distinct": 10,
            "missing": 0,
            "most_frequent": [],
            "low": 30,
            "high": 39,
        },
    ]
    readings = {reading["column"]: reading["read_as"] for reading in dataset["report"]["columns"]}
    assert readings == {
        "file": "path",
        "diagnosis": "label",
        "patient": "subject",
        "meta:Site": "metadata",
        "meta:age": "metadata",
        "note": "ignored",
    }
    samples = f"/datasets/{dataset['id']}/samples"
    query = {"subject": "p3", "metadata.Site": "Genève", "metadata.age": "33.0", "q": "/1"}
    listed_samples = front.client.get(samples, params=query).json()["data"]
    assert [sample["path"] for sample in listed_samples] == ["0/12.png", "1/13.png", "0/14.png", "1/15.png"]
    assert listed_samples[0]["metadata"] == {"Site": "Genève", "age": 33}
    unknown = front.client.get(samples, params={"metadata.site": "Bern"}).json()
    assert unknown["errors"][0]["pointer"] == "?metadata.site"
    assert "Site, age" in unknown["errors"][0]["detail"]

    download = front.client.get(f"/datasets/{dataset['id']}/download")
    assert download.headers["Content-Type"] == "application/zip"
    assert (
        download.headers["Content-Disposition"]
        == "attachment; filename*=utf-8''Scans%2C%20%C3%84rzte%2F2025.zip"
    )
    again = _imported(front, download.content)
    described = ("classes", "splits", "groups", "subjects", "metadata_columns")
    assert [again[name] for name in described] == [dataset[name] for name in described]
    stores = [
        Store.open(front.services.artifacts.folder(f"datasets/{one['id']}")) for one in (dataset, again)
    ]
    assert stores[0].digest == stores[1].digest


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
