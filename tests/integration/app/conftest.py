"""A running front, with rows that are written without a worker."""

from __future__ import annotations

import atexit
import io
import shutil
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.torch import save
from starlette.types import ASGIApp

from app.jobs.event_feed import EventFeed
from app.jobs.event_stream import frames
from app.main import Services, create_app
from app.server.clock import TimeLimits
from app.server.connection import Connection
from app.server.server import Server
from core.queries import datasets, jobs, leases, registry
from core.queries.leases import Lease
from core.settings import Settings
from core.tables import JobRow, ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, DatasetState, JobKind, JobState, Stage
from models.backbones.build import build_network
from models.data.importing.datasets import ImportOptions, import_dataset
from models.data.report import ImportReport
from tests.support.databases import empty_database, sqlite_database
from tests.support.rows import dataset_row
from tests.support.waits import PATIENCE

CLASSES = ["left", "right"]
LOCAL = "http://localhost"
"""Without keys, the service accepts no other host name."""
ROOT = {"X-API-Key": "root"}
DIGITS = {"name": "d", "source": "builtin:digits"}


def picture(number: int) -> bytes:
    """A different PNG for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def weights(*, classes: int = 2) -> bytes:
    """The file of a `small_cnn` for images of 28 pixels."""
    network = build_network("small_cnn", classes=classes, image_size=28, seed=9)
    return save({name: tensor.contiguous() for name, tensor in network.model.state_dict().items()})


@cache
def _imported(classes: tuple[str, ...]) -> tuple[Path, ImportReport]:
    """A store to copy: an import forks two processes, and most tests only need its outcome."""
    temporary = TemporaryDirectory()
    atexit.register(temporary.cleanup)
    source, store = Path(temporary.name, "source"), Path(temporary.name, "store")
    for number in range(24):
        split = ("train", "val", "calibration", "test")[number % 4]
        folder = source / split / classes[number // 4 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:02}.png").write_bytes(picture(number))
    (source / "train" / classes[0] / "broken.png").write_bytes(b"<svg onload=alert(1)>")
    return store, import_dataset(source, store, ImportOptions(threads=1))


def pages(client: TestClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """Everything in a list, asked for page by page."""
    found: list[dict[str, Any]] = []
    while True:
        page = client.get(path, params=query).json()
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


def http_scope(method: str, path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """A request as a server hands it to the application."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


def stream_of(
    feed: EventFeed, job: str, *, after: int, instance: str = "/jobs/x/events", heartbeat: float = 15.0
) -> AsyncIterator[bytes]:
    """The stream of a caller whose key stays valid."""

    async def authorize() -> None:
        pass

    return frames(feed, job, after=after, instance=instance, authorize=authorize, heartbeat=heartbeat)


class Rows:
    """A started application, with methods that do what a worker would have done."""

    app: FastAPI

    @property
    def services(self) -> Services:
        services: Services = self.app.state.services
        return services

    def dataset(self, *, classes: list[str] = CLASSES) -> str:
        """Add a ready data set: 24 images in two classes, one rejected file."""
        dataset_id = new_id("ds")
        key = f"datasets/{dataset_id}"
        store, report = _imported(tuple(classes))
        with self.services.artifacts.writing(key) as folder:
            shutil.copytree(store, folder, dirs_exist_ok=True)
        facts = {"format": "image_folder", "splits": dict(report.splits), "sizes": {"longer_side_max": 28}}
        with self.services.database.begin() as session:
            row = dataset_row(
                id=dataset_id, state=DatasetState.IMPORTING, source={"upload": f"uploads/{dataset_id}"}
            )
            datasets.add(session, row)
            datasets.finish(
                session,
                dataset_id,
                artifact=key,
                classes=list(report.classes),
                summary=report.summary() | facts,
                ready=True,
            )
        return dataset_id

    def model(self, dataset_id: str | None, *, classes: list[str] = CLASSES, **fields: Any) -> str:
        """Add a model that was never trained."""
        row = ModelRow(
            id=new_id("mdl"),
            dataset_id=dataset_id,
            arm=Arm.ERM,
            backbone="resnet32",
            classes=classes,
            image_size=32,
            artifact="models/none",
            **fields,
        )
        with self.services.database.begin() as session:
            registry.add(session, row)
        return row.id

    def job(self, kind: JobKind = JobKind.ERM, **fields: Any) -> str:
        """Add a queued job."""
        row = JobRow(id=new_id("job"), kind=kind, params={}, **fields)
        with self.services.database.begin() as session:
            jobs.add(session, row)
        return row.id

    def claim(self) -> Lease:
        """Take the oldest queued job, as a worker does."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with self.services.database.begin() as session:
                row = leases.claim(session, worker="test", lease_seconds=600)
                if row is not None:
                    return Lease(row.id, row.token)
            # The front's first sweep may have locked the row to ring for it; a claim skips locked rows.
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def log(self, lease: Lease, *messages: str) -> None:
        """Append one log event per message."""
        for message in messages:
            with self.services.database.begin() as session:
                leases.log(session, lease, message)

    def finish_stage(self, lease: Lease, stage: Stage, **result: Any) -> None:
        with self.services.database.begin() as session:
            leases.finish_stage(session, lease, stage, result)

    def end(self, lease: Lease, state: JobState = JobState.SUCCEEDED) -> None:
        error = {"type": "/problems/job-failed", "detail": "no"} if state is JobState.FAILED else None
        with self.services.database.begin() as session:
            leases.end(session, lease, state, error=error)


@dataclass(frozen=True)
class Front(Rows):
    """A started front."""

    client: TestClient
    app: FastAPI
    settings: Settings


def migrated(data_dir: Path, database_url: str = "", **_: object) -> None:
    """Give a front that has no database the one that it would make, sooner."""
    if not database_url and not (data_dir / "masktune.db").exists():
        sqlite_database(data_dir)


@contextmanager
def running(settings: Settings) -> Iterator[Front]:
    """Run a front while the block runs."""
    app = create_app(settings)
    # Like the server, the test client is given the prefix as well.
    with TestClient(app, LOCAL, raise_server_exceptions=False, root_path=settings.root_path) as client:
        yield Front(client, app, settings)


StartFront = Callable[..., Front]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartFront]:
    """A function that starts a separate front with these settings, on SQLite by default."""
    with ExitStack() as stack:

        def begin(**settings: Any) -> Front:
            given: dict[str, Any] = {"data_dir": tmp_path, "events_poll_seconds": 0.02} | settings
            migrated(**given)
            return stack.enter_context(running(Settings(**given)))

        yield begin


@pytest.fixture
def anyio_backend() -> str:
    """What coroutines that are tests run on."""
    return "asyncio"


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """On SQLite, or on what a test asks for; tests of core run on both engines."""
    with empty_database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def front(database_url: str, start: StartFront) -> Front:
    return start(database_url=database_url)


@pytest.fixture(scope="module")
def shared_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The module's front, on SQLite: for tests to which it is all the same what others have added."""
    folder = tmp_path_factory.mktemp("shared")
    migrated(folder)
    with running(Settings(data_dir=folder)) as front:
        yield front


@pytest.fixture
def guarded(database_url: str, start: StartFront) -> Front:
    """A front with one key, the operator's."""
    return start(database_url=database_url, api_keys="admin:root")


class Impatient(Connection):
    """The server's own protocol, with limits that are short enough for a test."""

    limits = TimeLimits(head=1.0, body=1.0, answer=0.4, drain=0.8, pause=0.2)


@dataclass(frozen=True)
class Listening(Rows):
    """A real server on its own socket."""

    app: FastAPI
    server: Server
    address: tuple[str, int]

    def connect(self, sent: bytes = b"", *, seconds: float = 30) -> socket.socket:
        """Connect and send these bytes. Waiting longer than `seconds` on the connection fails the test."""
        connection = socket.create_connection(self.address, timeout=seconds)
        connection.sendall(sent)
        return connection

    def ask(self, sent: bytes) -> bytes:
        """Send these bytes; return everything received until the server closes."""
        with self.connect(sent) as connection:
            return rest(connection)


def rest(connection: socket.socket) -> bytes:
    """Receive until the server closes; `TimeoutError` if it does not."""
    found = b""
    while piece := connection.recv(65_536):
        found += piece
    return found


@contextmanager
def listening(
    data_dir: Path, wrap: Callable[[FastAPI], ASGIApp] | None = None, **settings: Any
) -> Iterator[Listening]:
    """Run a real server while the block runs."""
    given: dict[str, Any] = {"data_dir": data_dir, "allowed_hosts": "a"} | settings
    migrated(**given)
    app = create_app(Settings(**given))
    app.state.admission.slow_seconds = 0.1
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Small, so that a slow client is detected before the kernel has buffered the whole answer.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        config = uvicorn.Config(
            app if wrap is None else wrap(app),
            http=Impatient,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
        )
        server = Server(config, app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            yield Listening(app, server, listener.getsockname())
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(60)


Listen = Callable[..., Listening]


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Listen]:
    """A function that starts real servers with these settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(listening(tmp_path, **settings))


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listen]:
    """A function that returns the module's server with these settings, for tests that leave nothing."""
    with ExitStack() as stack:

        @cache
        def begin(**settings: Any) -> Listening:
            return stack.enter_context(listening(tmp_path_factory.mktemp("served"), **settings))

        yield begin
