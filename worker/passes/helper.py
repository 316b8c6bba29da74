"""A slot without a job computes shards of a pass that another worker's job makes, in a child of its own.

The child writes nothing but shards, which the job finds when it comes to them. It lives while the database
says that the attempt at the job runs; then, or if its worker is gone, it ends as a job's own child does.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import select

from core import logs
from core.errors import MasktuneError
from core.queries import jobs, leases
from core.queries.leases import Lease, LeaseLost
from core.storage.trash import discard
from core.tables import JobRow
from masktune.contract.vocabulary import JobState
from worker.child_process import ChildProcess
from worker.passes.shards import shard_key
from worker.protocol import Message, PassOpened, ShardFinished, deadline_line, parse, shard_line
from worker.runtime import Runtime
from worker.shard_tasks import PassSpec, ShardTask
from worker.supervisor.db_errors import Transient, transient_errors
from worker.supervisor.spare_child import SpareChild
from worker.supervisor.spec_builder import build_spec

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
"""The longest sleep of the loop, and so the longest time until it notices that the worker must stop."""
_KEPT_SECONDS = 5.0
"""How long a child is kept without a shard. The next takes the broker milliseconds, a new child seconds."""
_WAIT_SECONDS = 1.0
"""How long at most the slot waits for the next shard before it looks for a queued job."""


class _Attempt(NamedTuple):
    """A pass of one attempt at a job."""

    lease: Lease
    sharded: PassSpec


class _GivenUp(Exception):
    """This slot does not go on with the pass. The message says why."""


class PassHelper:
    """Computes shards on the thread of its slot, `slot` of the host's GPUs; one pass at a time. The slot's
    `spare` child makes room for this one's."""

    def __init__(self, runtime: Runtime, slot: int, spare: SpareChild) -> None:
        self._runtime, self._settings, self._slot = runtime, runtime.settings, slot
        self._spare = spare
        self._child: ChildProcess | None = None
        self._row: JobRow | None = None
        self._kind: str | None = None
        self._helped: _Attempt | None = None
        self._announced: _Attempt | None = None
        self._failed: _Attempt | None = None
        self._kept_until = 0.0
        self._look_at = 0.0

    @property
    def patience(self) -> float:
        """How many seconds the slot waits for the next shard."""
        left = 0.0 if self._child is None else self._kept_until - time.monotonic()
        return max(0.0, min(left, _WAIT_SECONDS))

    def accepts(self, task: ShardTask) -> bool:
        """Whether shards of the pass would be those of its job here: on a host of another kind sums round
        otherwise. Which kind this one is, the first child tells."""
        return self._kind in (None, task.sharded.kind) and _attempt(task) != self._failed

    def compute(self, task: ShardTask) -> None:
        """Compute the shard unless it is there or its job has ended. Whatever fails, the job goes on."""
        attempt = _attempt(task)
        with logs.bind(job_id=task.job_id):
            try:
                with transient_errors():
                    try:
                        self._compute(attempt, task.number)
                    except (LeaseLost, MasktuneError):  # the job has ended, or an input of it is gone
                        self._leave(task.job_id)
                    except _GivenUp as reason:
                        logger.warning("%s: %s", task.sharded.title, reason)
                        self._failed = attempt
                        self._leave(task.job_id)
            except (Transient, OSError) as error:
                logger.warning("shard %d of %s: %s", task.number, task.sharded.title, error)
                self.close()

    def close(self) -> None:
        """End the child, and with it what it holds of the device."""
        if self._child is not None:
            child, self._child, self._helped = self._child, None, None
            self._runtime.end_child(child)

    def _compute(self, attempt: _Attempt, number: int) -> None:
        if attempt != self._helped:
            self.close()
        if self._runtime.artifacts.exists(shard_key(attempt.sharded.key, number)):
            return
        child = self._child or self._started(attempt)
        self._hold(child, attempt.lease)
        child.send(shard_line(number))
        assert self._row is not None
        with self._runtime.tracing.shard(self._row, attempt.sharded.title, number):
            self._await(child, attempt, number)
        self._remove_if_gone(attempt.lease.job_id)
        self._kept_until = time.monotonic() + _KEPT_SECONDS

    def _started(self, attempt: _Attempt) -> ChildProcess:
        """A new child for the pass. Raises LeaseLost, MasktuneError, OSError."""
        with self._runtime.database.read() as session:
            leases.held(session, attempt.lease)
            self._row = jobs.get(session, attempt.lease.job_id)
            spec = build_spec(session, self._row, slot=self._slot)
        self._spare.end()
        child = self._runtime.start_child()
        self._child, self._helped = child, attempt
        child.send(replace(spec, sharded=attempt.sharded).to_line())
        return child

    def _hold(self, child: ChildProcess, lease: Lease) -> None:
        """Check that the attempt still runs and is not cancelled, and renew the child's deadline."""
        now = time.monotonic()
        with self._runtime.database.read() as session:
            if leases.held(session, lease) is not JobState.RUNNING:
                raise LeaseLost(lease.job_id)
        child.send(deadline_line(now + self._settings.lease_seconds))
        self._look_at = now + self._settings.control_seconds

    def _await(self, child: ChildProcess, attempt: _Attempt, number: int) -> None:
        """Wait until the child has put the shard. Raises LeaseLost, and _GivenUp if it cannot."""
        last_sign_at = time.monotonic()
        while True:
            lines, ended = child.read(_LOOK_SECONDS)
            for message in map(parse, lines):
                if self._notice(message, attempt, number):
                    return
            if ended:
                raise _GivenUp(f"the process that computes shards ended with {child.returncode}")
            now = time.monotonic()
            if lines:
                last_sign_at = now
            elif 0 < self._settings.child_silent_seconds < now - last_sign_at:
                child.dump_stacks()
                raise _GivenUp("the process that computes shards is silent")
            if self._runtime.stopping.is_set():
                raise LeaseLost(attempt.lease.job_id)  # as far as this worker is concerned
            if now >= self._look_at:
                self._hold(child, attempt.lease)

    def _notice(self, message: Message | None, attempt: _Attempt, number: int) -> bool:
        """Whether it says that the shard is done."""
        match message:
            case PassOpened(kind=kind):
                self._kind = kind
                if kind != attempt.sharded.kind:
                    raise _GivenUp(f"this host is {kind}, and the job's is {attempt.sharded.kind}")
                if attempt != self._announced:
                    with self._runtime.database.begin() as session:
                        line = f"worker {self._runtime.name} helps with {attempt.sharded.title}"
                        leases.log(session, attempt.lease, line)
                    self._announced = attempt
            case ShardFinished():
                if not message.put:
                    logger.info("shard %d of %s was there already", number, attempt.sharded.title)
                return message.number == number
        return False

    def _leave(self, job_id: str) -> None:
        """End the child in the middle of a shard, and remove what it may have put too late."""
        if self._child is not None:
            self.close()
            self._remove_if_gone(job_id)

    def _remove_if_gone(self, job_id: str) -> None:
        """Delete what was put after the job or its work folder had been deleted."""
        with self._runtime.database.read() as session:
            state = session.scalar(select(JobRow.state).where(JobRow.id == job_id))
        if state is None or state is JobState.SUCCEEDED:
            key = f"jobs/{job_id}" if state is None else f"jobs/{job_id}/work"
            with self._runtime.database.begin() as session:
                discard(session, self._runtime.database, self._runtime.artifacts, [key])


def _attempt(task: ShardTask) -> _Attempt:
    return _Attempt(Lease(task.job_id, task.token), task.sharded)
