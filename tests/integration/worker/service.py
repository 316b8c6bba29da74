"""Real worker processes on a separate backend, with gates that halt their children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import create_engine, select
from sqlalchemy.exc import OperationalError

from core import schema
from core.notifications import JobNotifier
from core.queries import events, jobs
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.tables import EventRow, JobRow, PassRow
from masktune.contract.vocabulary import STAGES, EventType, JobKind, JobState, Stage
from tests.support.jobs.real_jobs import add_dataset, add_import, add_job
from tests.support.servers import Redis
from tests.support.waits import wait_until
from worker.child_process import MARK
from worker.runtime import environment

REPO = Path(__file__).parents[3]

IN_ORDER = STAGES[JobKind.MASKTUNE]
GATES = {
    Stage.IMPORT: "/report.json",
    Stage.ERM: "work/erm/.epoch-00002.pt.partial",
    Stage.INFER_GROUPS: "/samples.npz",
    Stage.MASK: "/masks.npy",
    Stage.FINETUNE: "work/finetune/.epoch-00002.pt.partial",
    Stage.CONTROL: "work/control/.epoch-00002.pt.partial",
    Stage.CALIBRATE: "tables.json",
    Stage.EVALUATE: "-erm-heatmap.png",
}
"""A file that each stage opens about half-way through, after its first checkpoint if it writes any."""


@dataclass
class Service:
    """A database, a broker, a store, and the workers that were started on them."""

    settings: Settings
    dataset_id: str
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database = Database(self.settings.database)
        self.artifacts = Artifacts(self.settings.storage, cache=self.settings.scratch / "cache")
        self.notifier = JobNotifier(self.settings.broker_url)
        self.gate = self.settings.data_dir / "gate"

    def start_worker(self) -> subprocess.Popen[bytes]:
        paths = [str(REPO / "tests/integration/worker/gate"), str(REPO)]
        log = (self.settings.data_dir / "worker.log").open("ab")
        with log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "masktune.cli", "worker"],
                cwd=self.settings.data_dir,
                env=environment(self.settings)
                | {"PYTHONPATH": os.pathsep.join(paths), "TEST_GATE": str(self.gate)},
                stdout=log,
                stderr=log,
            )
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        """Stop everything that was started, and assert that nothing is left behind."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.terminate()
                worker.wait(timeout=60)
        self.notifier.close()
        self.database.close()
        assert self.children() == []

    # --- jobs ---------------------------------------------------------------------------------

    def add(self, *, params: dict[str, Any] | None = None) -> str:
        job_id = add_job(self.database, JobKind.MASKTUNE, self.dataset_id, params=params)
        self.notifier.notify(job_id)
        return job_id

    def add_import(self) -> str:
        """A job whose child needs no torch, of the images that the packed data set is of."""
        _, job_id = add_import(self.database, {"address": self.settings.allowed_sources})
        self.notifier.notify(job_id)
        return job_id

    def add_held_at(self, stage: Stage) -> str:
        """Add a job and wait until its child is held at the gate of this stage."""
        self.hold_at(stage)
        job_id = self.add()
        self.await_child_at(stage)
        return job_id

    def job(self, job_id: str) -> JobRow:
        with self.database.read() as session:
            return jobs.get(session, job_id)

    def await_taken(self, job_id: str) -> None:
        """Return once somebody has taken each shard of the job's pass."""

        def all_taken() -> bool:
            with self.database.read() as session:
                row = session.get_one(PassRow, job_id)
                return row.taken >= row.shards

        wait_until(all_taken, self.log)

    def events(self, job_id: str) -> list[EventRow]:
        with self.database.read() as session:
            return events.page(session, job_id, after=0, limit=10_000)

    def log_lines(self, job_id: str) -> list[str]:
        """What the job's page shows of its log."""
        return [str(e.data["message"]) for e in self.events(job_id) if e.type == EventType.LOG]

    def await_state(self, job_id: str, state: JobState) -> JobRow:
        job = self.job(job_id)

        def reached() -> bool:
            nonlocal job
            job = self.job(job_id)
            return job.state.ended or job.state is state

        wait_until(reached, self.log)
        assert job.state is state, (job.state, job.error, self.log())
        return job

    def log(self) -> str:
        return (self.settings.data_dir / "worker.log").read_text()[-3000:]

    def worker_of(self, job_id: str) -> subprocess.Popen[bytes]:
        """The worker process that holds the job's lease."""
        name = self.job(job_id).worker or ""
        return next(w for w in self.workers if name.endswith(f":{w.pid}"))

    # --- gates and processes --------------------------------------------------------------------

    def hold_at(self, stage: Stage) -> None:
        """Hold the next child that is half-way through this stage; a child that is held now continues."""
        self.hold_opening(GATES[stage])

    def hold_opening(self, ending: str) -> None:
        """Hold the next child that opens a file whose path ends so."""
        self._set_gate(f"hold {ending}")

    def touch_at(self, stage: Stage) -> None:
        self._set_gate(f"touch {GATES[stage]}")

    def record(self, ending: str) -> None:
        """From now on, have children record the files that they open whose paths end so."""
        self._set_gate(f"record {ending}")

    def recorded(self) -> list[str]:
        """The names of these files, in order, each as often as it was opened."""
        return Path(f"{self.gate}.recorded").read_text().splitlines()

    def open_gates(self) -> None:
        self.gate.unlink(missing_ok=True)

    def await_child_at(self, stage: Stage) -> int:
        """Wait for a child to reach the gate of this stage; return its pid."""
        return self.await_opening(GATES[stage])

    def await_opening(self, ending: str) -> int:
        """Wait for a child to be held at such a file; return its pid."""
        mark = Path(f"{self.gate}.reached.{ending.replace('/', '_')}")
        wait_until(
            lambda: mark.exists() and bool(mark.read_text()), lambda: f"the gate at {ending}: {self.log()}"
        )
        pid = int(mark.read_text())
        mark.unlink()
        return pid

    def files(self) -> list[str]:
        """Every file of the store."""
        return sorted(str(path) for path in Path(self.artifacts.root).rglob("*") if path.is_file())

    def await_no_child(self) -> None:
        wait_until(
            lambda: self.children() == [], lambda: f"the end of {self.describe_children()}: {self.log()}"
        )

    def describe_children(self) -> str:
        """The children's command lines and states from /proc."""
        wanted = ("Name", "State", "PPid", "NSsid")
        told = []
        for pid in self.children():
            status = Path(f"/proc/{pid}/status").read_text().splitlines()
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            told.append(" ".join([command, *(line for line in status if line.startswith(wanted))]))
        return "; ".join(told)

    def stop(self, worker: subprocess.Popen[bytes], job_id: str) -> None:
        """SIGSTOP the worker between two transactions: an open transaction would keep its locks."""
        worker.send_signal(signal.SIGSTOP)
        while not self._unlocked(job_id):
            worker.send_signal(signal.SIGCONT)
            time.sleep(0.02)
            worker.send_signal(signal.SIGSTOP)

    def _unlocked(self, job_id: str) -> bool:
        engine = create_engine(self.settings.database)
        sqlite = engine.dialect.name == "sqlite"
        try:
            with engine.connect() as connection:
                if sqlite:
                    connection.exec_driver_sql("PRAGMA busy_timeout=100")
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                else:
                    row = select(JobRow.id).where(JobRow.id == job_id).with_for_update(nowait=True)
                    connection.execute(row)
        except OperationalError:
            return False
        finally:
            engine.dispose()
        return True

    def _set_gate(self, text: str) -> None:
        partial = self.gate.with_suffix(".partial")
        partial.write_text(text)
        partial.replace(self.gate)

    def children(self) -> list[int]:
        """Pids of the children of this service's workers, including orphans."""
        wanted = f"MASKTUNE_DATA_DIR={self.settings.data_dir}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environ = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in environ and any(value.startswith(f"{MARK}=".encode()) for value in environ):
                found.append(int(entry.name))
        return found


class Backend(NamedTuple):
    service: Service
    redis: Redis | None


class Reference(NamedTuple):
    """A packed data set, and the results of an uninterrupted job on it."""

    store: Path
    weights: dict[str, str]
    metrics: dict[str, object]


LEASE_SECONDS = 8.0
"""Short, for others wait for its end; but no worker of a busy machine stands still for so long."""


def open_service(folder: Path, store: Path, **changes: Any) -> Service:
    """A service with short leases on a packed data set; `changes` override the settings."""
    folder.mkdir(exist_ok=True)
    usual: dict[str, Any] = {
        "data_dir": folder,
        "threads": 1,
        "device": "cpu",
        "lease_seconds": LEASE_SECONDS,
        "heartbeat_seconds": 0.3,
        "control_seconds": 0.1,
        "sweep_seconds": 0.2,
        "retry_backoff_seconds": 0.0,
        "end_grace_seconds": 1.0,
        "spare_children": False,  # what a test finds of `children` is a job's
        "allowed_sources": f"file://{store.parent}/images",
    }
    settings = Settings(**(usual | changes))
    schema.upgrade(settings.database)
    service = Service(settings, dataset_id="")
    service.dataset_id = add_dataset(service.database, service.artifacts, store)
    return service


def weights(job: JobRow) -> dict[str, str]:
    """The digest of each model's weights."""
    return {stage: job.done[stage]["weights"] for stage in (Stage.ERM, Stage.FINETUNE, Stage.CONTROL)}


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
    wait_until(lambda: not service.artifacts.exists(work), lambda: f"the end of {work}")
    root = Path(service.artifacts.root)
    kinds = ("jobs", "models", "calibrations", "pattern_judges")
    assert [path for kind in kinds for path in (root / kind).rglob(".*")] == []


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
