"""What is stored before its row is: kept when the row was committed, gone else, whatever ends in between."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, make_url, update
from sqlalchemy import select as query

from app.http.staged_artifact import LONGEST_SECONDS, staged_artifact
from core.errors import Unavailable
from core.queries import datasets
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.storage.maintenance import run_maintenance
from core.tables import TrashRow
from masktune.contract.ids import new_id
from tests.integration.app.conftest import CLASSES, Front, StartFront, weights
from tests.integration.app.datasets.test_datasets import archive
from tests.support.proxies import Proxy
from tests.support.rows import dataset_row
from tests.support.stubborn_store import StubbornStore

KINDS = {"datasets": "uploads", "models": "models"}
"""What is created → where its files lie."""


class CuttingProxy(Proxy):
    """Between a front and PostgreSQL. The answer to the COMMIT behind `statement` never arrives, once."""

    def __init__(self, host: str, port: int, statement: bytes) -> None:
        self._statement = statement
        self.cut = threading.Event()
        super().__init__(host, port)

    def carry(self, near: socket.socket, far: socket.socket) -> None:
        creates, commits = False, False
        while True:
            for readable in select.select([near, far], [], [])[0]:
                data = readable.recv(65_536)
                if not data:
                    return
                if readable is near:
                    creates = creates or self._statement in data
                    commits = creates and b"COMMIT\0" in data
                elif commits and not self.cut.is_set():
                    self.cut.set()  # the server has committed and said so
                    return
                (far if readable is near else near).sendall(data)


def ask(client: TestClient, kind: str, key: str | None = None, **fields: str) -> Any:
    """Create a data set or a model of a file."""
    if kind == "datasets":
        form, file = {"name": "mine"}, ("mine.zip", archive())
    else:
        form = {"backbone": "small_cnn", "classes": json.dumps(CLASSES), "image_size": "28"}
        file = ("weights.safetensors", weights())
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post(f"/{kind}", data=form | fields, files={"file": file}, headers=headers)


def stored(front: Front, kind: str) -> list[str]:
    """Keys of what lies in the store."""
    root = Path(front.services.artifacts.root)
    return sorted(f"{KINDS[kind]}/{path.name}" for path in (root / KINDS[kind]).glob("*"))


def in_trash(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(query(TrashRow.key)))


def a_day_later(database: Database, settings: Settings) -> None:
    with database.begin() as session:
        session.execute(update(TrashRow).values(at=TrashRow.at - LONGEST_SECONDS - 60))
    run_maintenance(database, settings)


@pytest.fixture
def cutting(
    request: pytest.FixtureRequest, database_url: str, start: StartFront
) -> Iterator[tuple[Front, CuttingProxy]]:
    address = make_url(database_url)
    statement = f"INSERT INTO {request.param}".encode()
    with closing(CuttingProxy(str(address.host), address.port or 5432, statement)) as proxy:
        near = address.set(host="127.0.0.1", port=proxy.port)
        yield start(database_url=near.render_as_string(hide_password=False)), proxy


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("cutting", "kind"), [(kind, kind) for kind in KINDS], indirect=["cutting"])
def test_a_commit_whose_answer_is_lost_keeps_what_its_row_names(
    cutting: tuple[Front, CuttingProxy], kind: str
) -> None:
    front, proxy = cutting
    lost = ask(front.client, kind, key="once")
    assert (lost.status_code, proxy.cut.is_set()) == (503, True)
    again = ask(front.client, kind, key="once")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert stored(front, kind) == [f"{KINDS[kind]}/{again.json()['id']}"]
    a_day_later(front.services.database, front.settings)
    assert stored(front, kind) == [f"{KINDS[kind]}/{again.json()['id']}"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_is_in_the_trash_until_its_row_is_committed(front: Front, kind: str) -> None:
    """Where the process is killed before, the sweep deletes it a day later."""
    database, seen = front.services.database, list[tuple[list[str], list[str]]]()

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        if f"INSERT INTO {kind}" in statement:
            with closing(Database(front.settings.database)) as other:  # which sees what is committed
                seen.append((stored(front, kind), in_trash(other)))

    event.listen(database.engine, "before_cursor_execute", note)
    key = f"{KINDS[kind]}/{ask(front.client, kind).json()['id']}"
    backbone = [key.replace("models", "backbones")] if kind == "models" else []
    assert seen == [([key], [*backbone, key])]
    assert in_trash(database) == []
    a_day_later(database, front.settings)
    assert front.services.artifacts.exists(key)


def test_what_is_refused_at_last_leaves_nothing(start: StartFront, database_url: str) -> None:
    """The caller has as many jobs as it may: nobody knows before the transaction."""
    front = start(database_url=database_url, max_active_jobs_per_key=1)
    assert ask(front.client, "datasets").status_code == 202
    (first,) = stored(front, "datasets")
    assert ask(front.client, "datasets").status_code == 429
    assert stored(front, "datasets") == [first]
    assert in_trash(front.services.database) == []


def test_what_is_refused_while_the_store_is_away_goes_later(
    start: StartFront, stubborn: type[StubbornStore], tmp_path: Path
) -> None:
    front = start(storage_url=f"stubborn://{tmp_path.name}", max_active_jobs_per_key=1)
    assert ask(front.client, "datasets").status_code == 202
    stubborn.stuck = True
    assert ask(front.client, "datasets").status_code == 429
    (key,) = in_trash(front.services.database)
    assert front.services.artifacts.exists(key)
    stubborn.stuck = False
    with front.services.database.begin() as session:
        session.execute(update(TrashRow).values(at=TrashRow.at - 60))
    run_maintenance(front.services.database, front.settings)
    assert not front.services.artifacts.exists(key)


def test_who_takes_longer_than_the_trash_waits_creates_nothing(
    database: Database, artifacts: Artifacts
) -> None:
    """The sweep may be deleting it."""
    staged = staged_artifact(database, artifacts, "uploads/ds_1")
    with pytest.raises(Unavailable), staged as confirm:  # noqa: PT012  # the block is the point
        with artifacts.writing("uploads/ds_1") as folder:
            (folder / "archive").touch()
        with database.begin() as session:
            session.execute(update(TrashRow).values(at=TrashRow.at - LONGEST_SECONDS))
        with database.begin() as session:
            confirm(session)
    assert not artifacts.exists("uploads/ds_1")
    assert in_trash(database) == []


def test_a_store_that_is_away_is_a_503(start: StartFront, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of botocore are no errors of the system, and were a bare 500."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()  # nobody listens there behind this block
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{address[1]}",
        "AWS_ACCESS_KEY_ID": "anyone",
        "AWS_SECRET_ACCESS_KEY": "anything",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    driver = fsspec.get_filesystem_class("s3")
    driver.clear_instance_cache()
    try:
        front = start(storage_url="s3://bucket/artifacts")
        dataset = new_id("ds")
        with front.services.database.begin() as session:
            datasets.add(session, dataset_row(id=dataset, artifact=f"datasets/{dataset}", classes=CLASSES))
        for path in (f"/datasets/{dataset}/samples", f"/datasets/{dataset}/samples/0/image"):
            answer = front.client.get(path)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), answer.text
            assert answer.json()["type"].endswith("/problems/unavailable")
    finally:
        driver.clear_instance_cache()
