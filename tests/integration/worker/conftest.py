"""Workers without Celery, and jobs with scripted children."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.queries import datasets, events, jobs
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.tables import EventRow, JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState, JobKind, JobState
from models.data.importing.datasets import import_dataset
from tests.integration.core.databases import database_on
from tests.integration.worker.service import LEASE_SECONDS, Backend, Reference, open_service, weights
from tests.support.databases import postgres_database
from tests.support.jobs.bench import Bench, opened_bench, opened_runtime
from tests.support.jobs.golden import Golden, Masktune, masktune_of
from tests.support.jobs.real_jobs import make_folder
from tests.support.machine import needs
from tests.support.rows import dataset_row
from tests.support.servers import Redis
from worker.runtime import Runtime
from worker.slots import work

SCRIPTED = (sys.executable, str(Path(__file__).parent / "scripted_child.py"))
REPO = str(Path(__file__).parents[3])
TESTED_BY = "TESTED_BY", str(os.getpid())
"""Marks scripted children in their environment, since tests in other processes have children too."""

Script = list[tuple[str, Any]]
AddJob = Callable[..., str]
JobOf = Callable[[str], JobRow]
EventsOf = Callable[[str], list[EventRow]]
Working = Callable[..., threading.Thread]


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """On SQLite, or on what a test asks for; tests of core run on both engines."""
    with database_on(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    return Settings(
        data_dir=tmp_path,
        database_url=database_url,
        lease_seconds=LEASE_SECONDS,
        heartbeat_seconds=0.3,
        control_seconds=0.1,
        sweep_seconds=0.2,
        retry_backoff_seconds=0.0,
        end_grace_seconds=1.0,
    )


@pytest.fixture
def runtime(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    monkeypatch.setenv("PYTHONPATH", REPO)  # the scripted child imports ParentWatch
    monkeypatch.setenv(*TESTED_BY)
    opened = Runtime(
        settings=settings,
        database=database,
        artifacts=Artifacts(settings.storage, cache=settings.scratch / "cache"),
        child=SCRIPTED,
    )
    yield opened
    opened.stopping.set()


@pytest.fixture
def add_job(database: Database, tmp_path: Path) -> AddJob:
    """A function that queues an `erm` job whose child follows the script; an attempt may have its own."""

    def add(script: Script, *, kind: JobKind = JobKind.ERM, **attempts: Script) -> str:
        dataset_id, job_id = new_id("ds"), new_id("job")
        by_attempt = {name.removeprefix("attempt_"): steps for name, steps in attempts.items()}
        importing = kind is JobKind.IMPORT
        (tmp_path / "scripts").mkdir(exist_ok=True)
        (tmp_path / "scripts" / job_id).write_text(json.dumps({"default": script, **by_attempt}))
        with database.begin() as session:
            datasets.add(
                session,
                dataset_row(
                    id=dataset_id,
                    state=DatasetState.IMPORTING if importing else DatasetState.READY,
                    job_id=job_id,
                    artifact=None if importing else f"datasets/{dataset_id}",
                    classes=["a", "b"],
                ),
            )
            jobs.add(
                session,
                JobRow(
                    id=job_id,
                    kind=kind,
                    dataset_id=dataset_id,
                    params={},
                    inputs={"model_ids": {"erm": new_id("mdl")}},
                ),
            )
        return job_id

    return add


@pytest.fixture
def job_of(database: Database) -> JobOf:
    def read(job_id: str) -> JobRow:
        with database.read() as session:
            return jobs.get(session, job_id)

    return read


@pytest.fixture
def events_of(database: Database) -> EventsOf:
    def read(job_id: str) -> list[EventRow]:
        with database.read() as session:
            return events.page(session, job_id, after=0, limit=1000)

    return read


def with_settings(runtime: Runtime, **settings: Any) -> Runtime:
    """The same worker with other settings."""
    return replace(runtime, settings=runtime.settings.model_copy(update=settings))


@pytest.fixture
def working(runtime: Runtime) -> Iterator[Working]:
    """A function that runs `work` on a thread, as a slot does; all threads are joined at the end."""
    threads: list[threading.Thread] = []

    def start(worker: Runtime = runtime) -> threading.Thread:
        thread = threading.Thread(target=work, args=(worker,))
        thread.start()
        threads.append(thread)
        return thread

    yield start
    runtime.stopping.set()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


def ended(job: JobRow) -> bool:
    return JobState(job.state).ended


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Masktune:
    return masktune_of(tmp_path_factory)


@pytest.fixture(scope="session")
def digits(trained_once: Masktune, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A bench for tests that look at what jobs make of these images."""
    folder = tmp_path_factory.mktemp("digits") / "bench"
    shutil.copytree(trained_once.folder, folder)
    with opened_runtime(folder) as runtime:
        yield Bench(runtime, trained_once.dataset, folder / "images" / "digits")


@pytest.fixture(scope="session")
def masktune(digits: Bench, trained_once: Masktune) -> JobRow:
    """The job that most tests look at."""
    return digits.job(trained_once.job)


@pytest.fixture(scope="session")
def golden_bench(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A copy of the golden job's folder, to go on with."""
    folder = tmp_path_factory.mktemp("golden-bench")
    golden.copy(folder / "data")
    with opened_runtime(folder / "data", allowed_sources=f"file://{folder}/images") as runtime:
        yield Bench(runtime, golden.dataset, folder)


@pytest.fixture(scope="session")
def golden_job(golden_bench: Bench, golden: Golden) -> JobRow:
    """It recommends the retrained head."""
    return golden_bench.job(golden.job)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """Of a job that ran in this process, which has torch already: a worker's child would import it anew."""
    folder = tmp_path_factory.mktemp("reference")
    report = import_dataset(make_folder(folder / "images", images=120), folder / "store")
    assert report.state == "ready"
    with opened_bench(folder / "run", folder / "store") as bench:
        job = bench.succeed(bench.run(JobKind.MASKTUNE))[0]
    assert job.attempt == 1
    assert len(set(weights(job).values())) == 3
    return Reference(folder / "store", weights(job), job.metrics)


@pytest.fixture(params=["embedded", "servers"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, reference: Reference) -> Iterator[Backend]:
    """SQLite without a broker, and PostgreSQL with Redis."""
    with ExitStack() as stack:
        if request.param == "embedded":
            opened = Backend(open_service(tmp_path, reference.store), None)
        else:
            database = stack.enter_context(postgres_database())
            needs("redis-server")
            redis = Redis(tmp_path, os.environ, persistent=False)
            redis.start()
            stack.callback(redis.kill)
            service = open_service(tmp_path, reference.store, database_url=database, broker_url=redis.url)
            opened = Backend(service, redis)
        stack.callback(opened.service.close)
        yield opened
