"""Runs a job without child processes: its stages run here, and reports are recorded as by a supervisor."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

from sqlalchemy.orm import Session

from core.queries import leases
from core.queries.leases import Lease
from masktune.contract.vocabulary import JobState
from worker.child.pipes import Reporter
from worker.child.runner import Job
from worker.protocol import STOPPED, Done, Failed, Message, Record, Spec, parse
from worker.runtime import Runtime
from worker.supervisor import recorder as records
from worker.supervisor.recorder import PendingMessages
from worker.supervisor.spec_builder import build_spec
from worker.workspace import Workspace


class _Job(Job):
    """Takes no shards from a supervisor, which there is not."""

    def _share(self, *_: object) -> None:
        return None


def _never() -> bool:
    return False


def run_inline(runtime: Runtime, should_stop: Callable[[], bool] = _never) -> bool:
    """Run the next queued job to its end, or until it is stopped and requeued. False if none is queued."""
    with runtime.database.begin() as session:
        row = leases.claim(session, worker="inline", lease_seconds=600)
        if row is None:
            return False
        lease = Lease(row.id, row.token)
        spec = build_spec(session, records.begin(session, lease), slot=0)
    spec = Spec.from_line(spec.to_line())
    code, messages = _messages(runtime, spec, should_stop)
    with runtime.database.begin() as session:  # one, since nobody looks meanwhile
        _record(session, lease, messages)
    if code == STOPPED:
        with runtime.database.begin() as session:
            leases.release(session, lease, reason="stopped")
    return True


def _messages(runtime: Runtime, spec: Spec, should_stop: Callable[[], bool]) -> tuple[int, list[Message]]:
    settings = runtime.settings
    with tempfile.TemporaryFile() as reports:
        job = _Job(
            spec=spec,
            settings=settings,
            artifacts=runtime.artifacts,
            workspace=Workspace.started(runtime.artifacts, spec.job_id, scratch=settings.scratch),
            reporter=Reporter(reports.fileno()),
            threads=settings.threads,
            should_stop=should_stop,
        )
        code = job.run()
        assert code in (0, STOPPED)
        reports.seek(0)
        return code, [message for line in reports.readlines() if (message := parse(line)) is not None]


def _record(session: Session, lease: Lease, messages: list[Message]) -> None:
    pending = PendingMessages()
    for message in messages:
        if isinstance(message, Record):
            pending.put(message)
    while (record := pending.next(0.0, everything=True)) is not None:
        records.record(session, lease, record)
        pending.written(0.0)
    match messages[-1:]:
        case [Failed() as failed]:
            records.end(session, lease, JobState.FAILED, error=failed.error)
        case [Done()]:
            records.end(session, lease, JobState.SUCCEEDED)
