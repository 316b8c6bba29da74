"""The database cost of jobs: the statements of real jobs counted, then queries timed over long tables."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fastapi.testclient import TestClient
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import Session

from app.main import create_app
from core.queries import events, jobs, leases
from core.queries.leases import Lease
from core.session import Database
from core.settings import Settings
from core.sweep import sweep
from core.tables import JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import JobKind, JobState
from worker.runtime import Runtime
from worker.slots import work

JOB = {"backbone": "small_cnn", "batch_size": 4}
"""Small batches, so that epochs over so few images take some seconds, as real ones do."""
REPEATS = 30


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """The address of a new database on this server, which is dropped at the end."""
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    name = f"masktune_bench_{uuid.uuid4().hex[:8]}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


class JobCost(NamedTuple):
    """The cost of one whole `masktune` job, from its request to its end."""

    id: str
    seconds: float
    """Time from its claim to its end."""
    statements: int
    """Statements that its worker sent."""
    commits: int
    database_ms: float
    """Time spent in those statements, as the worker sees it; commits are not timed."""
    events: int
    events_kept: int
    """Events left some days after its end."""
    event_bytes: int
    row_bytes: int
    artifact_bytes: int


def run_jobs(url: str, folder: Path, epochs: tuple[int, ...]) -> list[JobCost]:
    """Run real jobs on the digits that come with the packages, in the worker's own code."""
    settings = Settings(data_dir=folder, database_url=url, rate_limits="")
    with TestClient(create_app(settings), "http://localhost") as client:
        dataset = client.post("/datasets", json={"name": "digits", "source": "builtin:digits"}).json()["id"]
        with closing(Runtime.open(settings)) as runtime:
            work(runtime)
            return [_run_job(client, runtime, {"dataset": dataset, "epochs": n, **JOB}) for n in epochs]


def _run_job(client: TestClient, runtime: Runtime, body: dict[str, object]) -> JobCost:
    store = runtime.settings.data_dir / "artifacts"
    before = tree_bytes(store)
    job = client.post("/jobs/masktune", json=body).json()["id"]
    with counted(runtime.database) as count:
        work(runtime)
    with runtime.database.read() as session:
        row = jobs.get(session, job)
        assert row.state is JobState.SUCCEEDED, row.error
        of_events = text(
            "SELECT count(*), count(*) FILTER (WHERE e.type != 'progress' OR e.data->>'metrics' != '{}'), "
            "sum(pg_column_size(e.*)) FROM events e WHERE job_id = :id"
        )
        events_count, events_left, event_bytes = session.execute(of_events, {"id": job}).one()
        row_bytes = session.scalar(text("SELECT pg_column_size(j.*) FROM jobs j WHERE id = :id"), {"id": job})
        seconds = row.times["succeeded"] - row.times["running"]
    return JobCost(
        job,
        seconds,
        count.statements,
        count.commits,
        1e3 * count.seconds,
        events_count,
        events_left,
        event_bytes,
        row_bytes or 0,
        tree_bytes(store) - before,
    )


class Count:
    """Statements and commits of one engine."""

    statements = commits = 0
    seconds = 0.0
    began = 0.0


@contextmanager
def counted(database: Database) -> Iterator[Count]:
    count = Count()
    engine = database.engine

    def begins(*_: Any) -> None:
        count.began = time.perf_counter()

    def ends(*_: Any) -> None:
        count.statements += 1
        count.seconds += time.perf_counter() - count.began

    def commits(*_: Any) -> None:
        count.commits += 1

    listeners = ("before_cursor_execute", begins), ("after_cursor_execute", ends), ("commit", commits)
    for name, listener in listeners:
        event.listen(engine, name, listener)
    yield count
    for name, listener in listeners:
        event.remove(engine, name, listener)


# --- long tables --------------------------------------------------------------------------


def lengthen(database: Database, like: str, *, queued: int, ended: int) -> None:
    """Add `queued` waiting and `ended` ended jobs, each a copy of `like`, a job that was really run."""
    with database.begin() as session:
        session.execute(text("DELETE FROM jobs WHERE id LIKE 'job_copy%'"))
        columns = [column.name for column in JobRow.__table__.columns]
        for state, count in (("queued", queued), ("succeeded", ended)):
            changed = {
                "id": f"'job_copy_{state}_' || i",
                "state": f"'{state}'",
                "created_at": "j.created_at - i",
                "ended_at": "NULL" if state == "queued" else "j.created_at",
                "priority": "(i % 3)",
                "created_by": "'k' || (i % 50)",
            }
            values = ", ".join(changed.get(name, f"j.{name}") for name in columns)
            session.execute(
                text(
                    f"INSERT INTO jobs ({', '.join(columns)}) SELECT {values} "
                    "FROM jobs j, generate_series(1, :count) i WHERE j.id = :like"
                ),
                {"count": count, "like": like},
            )
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE jobs"))


class Thinning(NamedTuple):
    """The cost of deleting the events that only moved the progress bars of jobs that ended long ago."""

    events_a_job: int
    forgotten: int
    """Deleted events per job."""
    ms_a_job: float


def thinning(database: Database, like: str, *, jobs_each: int = 5, rounds: int = 6) -> Thinning:
    """Measured on one-hour jobs of 2,400 events each, copied from `like`, a job that was really run."""
    many, number = 2_400, jobs_each * rounds
    old = "UPDATE jobs SET ended_at = 1, thinned_at = NULL WHERE id LIKE 'job_copy_succeeded%' AND id IN "
    copied = (
        "INSERT INTO events (job_id, seq, type, data, at) SELECT j.id, e.seq + :of * n, e.type, e.data, e.at "
        "FROM jobs j, events e, generate_series(0, :times) n WHERE j.ended_at = 1 AND e.job_id = :like "
        "AND e.seq + :of * n <= :many"
    )
    with database.begin() as session:
        some = "(SELECT id FROM jobs WHERE id LIKE 'job_copy_succeeded%' LIMIT :number)"
        session.execute(text(old + some), {"number": number})
        of = session.scalar(text("SELECT max(seq) FROM events WHERE job_id = :like"), {"like": like}) or 1
        row_counts = {"of": of, "times": many // of, "many": many, "like": like}
        session.execute(text(copied), row_counts)
    before, spent = _events(database), []
    for _ in range(rounds):
        began = time.perf_counter()
        with database.begin() as session:
            assert len(events.thin(session, older_than=0, at_a_time=jobs_each)) == jobs_each
        spent.append(1e3 * (time.perf_counter() - began) / jobs_each)
    return Thinning(many, (before - _events(database)) // number, statistics.median(spent))


def _events(database: Database) -> int:
    with database.read() as session:
        return session.scalar(text("SELECT count(*) FROM events")) or 0


def timings(database: Database, settings: Settings) -> dict[str, float]:
    """Operation → milliseconds, the median of `REPEATS` committed transactions."""
    held: list[Lease] = []

    def queue(session: Session) -> None:
        jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={}))

    def claim(session: Session) -> None:
        row = leases.claim(session, worker="bench", lease_seconds=600)
        assert row is not None
        held.append(Lease(row.id, row.token))

    def progress(session: Session) -> None:
        leases.write_progress(session, held[0], {"fraction": 0.5, "stage": "erm"}, advanced=False)

    operations: dict[str, Callable[[Session], object]] = {
        "queue a job": queue,
        "claim the best": claim,
        "write progress": progress,
        "renew the lease": lambda session: leases.renew(session, held[0], lease_seconds=600),
        "look for cancel": lambda session: leases.held(session, held[0]),
        "list a page": lambda session: jobs.listing(session, before=None, limit=20),
        "list a page of one state": lambda session: jobs.listing(
            session, before=None, limit=20, state=JobState.QUEUED
        ),
        "count by state (/metrics)": jobs.counts,
        "oldest that waits (/metrics)": jobs.oldest_queued_seconds,
    }
    sizes: dict[str, float] = {}
    for name, operation in operations.items():
        sizes[name] = _median(lambda operation=operation: _commit(database, operation))  # type: ignore[misc]  # bound now
    sizes["sweep"] = _median(lambda: sweep(database, settings))
    return sizes


def _commit(database: Database, operation: Callable[[Session], object]) -> None:
    with database.begin() as session:
        operation(session)


def _median(run: Callable[[], None]) -> float:
    run()
    spent = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        spent.append(1e3 * (time.perf_counter() - began))
    return statistics.median(spent)


def tree_bytes(folder: Path) -> int:
    """Total size of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
