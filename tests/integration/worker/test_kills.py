"""Whatever is killed, wherever: the job ends once, with the weights of an unbroken run, bit for bit."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from core import schema
from core.queries import jobs
from core.settings import Settings
from core.tables import JobRow
from core.vocabulary import STAGES, EventType, JobKind, JobState
from models.data.importing import import_dataset
from tests.conftest import free_port, postgres_database
from tests.integration.worker.real_jobs import add_dataset, hyperparameters, make_folder
from tests.integration.worker.service import Service, kill, wait_for, weights

IN_ORDER = STAGES[JobKind.MASKTUNE]
OpenService = Callable[..., Service]


class Reference(NamedTuple):
    """A packed data set, and what an unbroken job makes of it."""

    store: Path
    weights: dict[str, str]
    metrics: dict[str, object]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    report = import_dataset(make_folder(folder / "images"), folder / "store")
    assert report.state == "ready"
    service = _service(folder / "run", folder / "store")
    try:
        service.start_worker()
        job = service.await_state(service.add(), JobState.SUCCEEDED)
        assert job.attempt == 1
        assert len(set(weights(job).values())) == 3
        return Reference(folder / "store", weights(job), job.metrics)
    finally:
        service.close()


def _service(folder: Path, store: Path, *, database_url: str = "", broker_url: str = "") -> Service:
    folder.mkdir(exist_ok=True)
    settings = Settings(
        data_dir=folder,
        database_url=database_url,
        broker_url=broker_url,
        threads=1,
        device="cpu",
        lease_seconds=3.0,
        heartbeat_seconds=0.3,
        control_seconds=0.1,
        sweep_seconds=0.2,
        reannounce_seconds=0.5,
        retry_backoff_seconds=0.0,
        end_grace_seconds=1.0,
    )
    schema.upgrade(settings.database)
    service = Service(settings, dataset_id="")
    service.dataset_id = add_dataset(service.database, service.artifacts, store)
    return service


class Redis:
    """A redis-server of the test's own that keeps nothing, and may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("NOT TESTED: there is no redis-server on this machine")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._command = [
            binary,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Backend(NamedTuple):
    service: Service
    redis: Redis | None


@pytest.fixture(params=["embedded", "servers"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, reference: Reference) -> Iterator[Backend]:
    """SQLite with the folder broker, and PostgreSQL with Redis."""
    with ExitStack() as stack:
        if request.param == "embedded":
            opened = Backend(_service(tmp_path, reference.store), None)
        else:
            database = stack.enter_context(postgres_database())
            redis = Redis(tmp_path)
            stack.callback(redis.kill)
            service = _service(tmp_path, reference.store, database_url=database, broker_url=redis.url)
            opened = Backend(service, redis)
        stack.callback(opened.service.close)
        yield opened


def check_ended_once(service: Service, job: JobRow, reference: Reference) -> None:
    assert job.state is JobState.SUCCEEDED
    assert weights(job) == reference.weights
    assert job.metrics == reference.metrics
    told = service.events(job.id)
    assert [e.seq for e in told] == list(range(1, len(told) + 1))
    ends = [e for e in told if e.type == EventType.STATE and JobState(e.data["state"]).ended]
    assert [e.data["state"] for e in ends] == ["succeeded"]
    finished = [e.data["stage"] for e in told if e.type == EventType.STAGE and e.data["status"] == "finished"]
    assert finished == list(IN_ORDER)
    work = f"jobs/{job.id}/work"
    wait_for(lambda: not service.artifacts.exists(work), lambda: f"the end of {work}")
    root = Path(service.artifacts.root)
    assert [p for folder in ("jobs", "models", "calibrations") for p in (root / folder).rglob(".*")] == []


@pytest.mark.parametrize("backend", ["embedded"], indirect=True)
def test_the_child_is_killed_in_every_stage(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    service.start_worker()
    service.hold_at(IN_ORDER[0])
    job_id = service.add()
    for stage, after in zip(IN_ORDER, (*IN_ORDER[1:], None), strict=True):
        child = service.await_child_at(stage)
        service.open_gates() if after is None else service.hold_at(after)
        kill(child)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 1 + len(IN_ORDER)
    check_ended_once(service, job, reference)


def test_the_worker_is_killed_in_every_stage(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    service.start_worker()
    service.hold_at(IN_ORDER[0])
    job_id = service.add()
    for stage, after in zip(IN_ORDER, (*IN_ORDER[1:], None), strict=True):
        service.await_child_at(stage)
        service.start_worker()  # the one that will take over
        holder = service.worker_of(job_id)
        kill(holder.pid)
        holder.wait()
        service.await_no_child()  # its stdin ended
        service.open_gates() if after is None else service.hold_at(after)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 1 + len(IN_ORDER)
    check_ended_once(service, job, reference)


def test_the_broker_is_killed_in_every_stage(backend: Backend, reference: Reference) -> None:
    service, redis = backend
    service.start_worker()
    service.hold_at(IN_ORDER[0])
    job_id, waiting = service.add(), service.add()  # the second one's message is lost with the broker
    for stage, after in zip(IN_ORDER, (*IN_ORDER[1:], None), strict=True):
        service.await_child_at(stage)
        if redis is not None:
            redis.kill()
        else:
            for message in (service.settings.data_dir / "queue/messages").iterdir():
                message.unlink()
        service.open_gates() if after is None else service.hold_at(after)
        if redis is not None:
            redis.start()
    for id in (job_id, waiting):
        job = service.await_state(id, JobState.SUCCEEDED)
        assert job.attempt == 1
        check_ended_once(service, job, reference)


@pytest.mark.parametrize("backend", ["servers"], indirect=True)
def test_a_stopped_worker_is_fenced(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    first = service.start_worker()
    service.hold_at(IN_ORDER[2])
    job_id = service.add()
    service.await_child_at(IN_ORDER[2])
    service.stop(first, job_id)
    service.await_no_child()  # its lease ran out
    service.open_gates()
    service.start_worker()
    job = service.await_state(job_id, JobState.SUCCEEDED)
    first.send_signal(signal.SIGCONT)
    other = service.await_state(service.add(), JobState.SUCCEEDED)  # by whichever worker
    assert (job.attempt, other.attempt) == (2, 1)
    check_ended_once(service, service.job(job_id), reference)


@pytest.mark.parametrize("backend", ["embedded"], indirect=True)
def test_duplicate_doorbells_run_nothing_twice(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    service.start_worker()
    service.start_worker()
    service.hold_at(IN_ORDER[0])
    job_id = service.add()
    for _ in range(20):
        service.doorbell.ring(job_id)
    service.await_child_at(IN_ORDER[0])
    service.open_gates()
    job = service.await_state(job_id, JobState.SUCCEEDED)
    for _ in range(5):
        service.doorbell.ring(job_id)
    assert job.attempt == 1
    check_ended_once(service, job, reference)


@pytest.mark.parametrize("backend", ["embedded"], indirect=True)
def test_cancel_frees_the_device_in_every_stage_and_resume_goes_on(
    backend: Backend, reference: Reference
) -> None:
    service, _ = backend
    service.start_worker()
    service.touch_at(IN_ORDER[0])
    job_id = service.add()
    for stage, after in zip(IN_ORDER, (*IN_ORDER[1:], None), strict=True):
        service.await_child_at(stage)
        with service.database.begin() as session:
            jobs.cancel(session, job_id)
        job = service.await_state(job_id, JobState.CANCELLED)
        assert service.children() == []  # when it says so, the device is free
        assert stage not in job.done
        service.open_gates() if after is None else service.touch_at(after)
        with service.database.begin() as session:
            jobs.resume(session, job_id)
        service.doorbell.ring(job_id)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert weights(job) == reference.weights
    assert job.metrics == reference.metrics


@pytest.mark.parametrize("backend", ["servers"], indirect=True)
def test_sigterm_of_a_worker_gives_its_job_to_another(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    first = service.start_worker()
    service.touch_at(IN_ORDER[0])
    job_id = service.add()
    service.await_child_at(IN_ORDER[0])
    first.terminate()
    assert first.wait(timeout=30) == 0
    assert service.children() == []
    assert service.job(job_id).state is JobState.QUEUED
    service.open_gates()
    service.start_worker()
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert (job.attempt, job.crashes) == (2, 0)
    check_ended_once(service, job, reference)


@pytest.mark.parametrize("backend", ["servers"], indirect=True)
def test_a_job_that_nobody_was_told_of_is_found(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    service.start_worker()
    job = service.await_state(service.add(ring=False), JobState.SUCCEEDED)
    check_ended_once(service, job, reference)


@pytest.mark.parametrize("backend", ["embedded"], indirect=True)
def test_ranks_end_with_their_child(backend: Backend) -> None:
    service, _ = backend
    service.start_worker()
    job_id = service.add(params=hyperparameters(gpus=2, epochs=400))
    wait_for(lambda: bool(service.job(job_id).progress), service.log)  # the ranks are at work
    processes = service.children()
    assert len(processes) >= 4  # the child, torchrun, and two ranks
    child = min(processes, key=_started)
    kill(child)
    wait_for(lambda: not set(processes) & set(service.children()), service.describe_children)
    with service.database.begin() as session:
        jobs.cancel(session, job_id)
    service.await_state(job_id, JobState.CANCELLED)
    assert service.children() == []


def _started(pid: int) -> int:
    """When the process started, in ticks since boot (field 22 of proc(5) stat)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
