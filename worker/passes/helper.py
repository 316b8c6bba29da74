"""A slot without a job computes shards of passes that another worker's job makes, in a child of its own.

The child writes nothing but shards, which the job finds when it comes to them. It ends with the attempt at
the job, as the database has it, and with its worker.
"""

from __future__ import annotations

import logging
import shutil
import time
from dataclasses import replace

from core import logs
from core.errors import MasktuneError
from core.queries import jobs, leases
from core.queries.leases import Lease, LeaseLost
from core.tables import JobRow
from masktune.contract.vocabulary import JobState
from worker.child_process import ChildProcess
from worker.passes.shards import shard_key
from worker.protocol import Message, PassOpened, ShardFinished, deadline_line, parse, shard_line
from worker.runtime import Runtime
from worker.shard_tasks import ShardTask
from worker.supervisor.db_errors import Transient, transient_errors
from worker.supervisor.late_artifacts import discard_late
from worker.supervisor.spare_child import SpareChild
from worker.supervisor.spec_builder import build_spec
from worker.workspace import helper_folder

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
"""The longest sleep of the loop, until it notices that the worker must stop."""
_KEPT_SECONDS = 5.0
"""How long a child is kept without a shard. The next takes the broker milliseconds, a new child seconds."""
_WAIT_SECONDS = 1.0
"""The longest wait for the next shard before the slot looks for a queued job."""


class _GivenUp(Exception):
    """This slot does not go on with the pass. The message says why."""


class PassHelper:
    """Computes shards on the thread of its slot, `slot` of the host's GPUs; for one job at a time."""

    def __init__(self, runtime: Runtime, slot: int, spare: SpareChild) -> None:
        self._runtime, self._settings, self._slot = runtime, runtime.settings, slot
        self.spare = spare
        self._child: ChildProcess | None = None
        self._row: JobRow | None = None
        self._kind: str | None = None
        self._helped: tuple[object, ...] = ()
        self._announced: ShardTask | None = None
        self._failed: ShardTask | None = None
        self._kept_until = 0.0
        self._look_at = 0.0

    @property
    def patience(self) -> float:
        """How many seconds the slot waits for the next shard."""
        left = 0.0 if self._child is None else self._kept_until - time.monotonic()
        return max(0.0, min(left, _WAIT_SECONDS))

    def accepts(self, task: ShardTask) -> bool:
        """Whether shards of the pass would be its job's: on a host of another kind sums round otherwise.
        Which kind this one is, the first child tells."""
        return self._kind in (None, task.sharded.kind) and _pass_of(task) != self._failed

    def compute(self, task: ShardTask) -> None:
        """Compute the shard unless it is there or its job has ended. Whatever fails, the job goes on."""
        with logs.bind(job_id=task.job_id):
            try:
                with transient_errors():
                    try:
                        self._compute(task)
                    except (LeaseLost, MasktuneError):  # the job has ended, or an input of it is gone
                        self._leave(task.job_id)
                    except _GivenUp as reason:
                        logger.warning("%s: %s", task.sharded.title, reason)
                        self._failed = _pass_of(task)
                        self._leave(task.job_id)
            except (Transient, OSError) as error:
                logger.warning("shard %d of %s: %s", task.number, task.sharded.title, error)
                self.close()

    def close(self) -> None:
        """End the child, and with it what it holds of the device."""
        if self._child is not None:
            child, self._child = self._child, None
            self._runtime.end_child(child)
            shutil.rmtree(helper_folder(self._settings.scratch, child.mark), ignore_errors=True)

    def _compute(self, task: ShardTask) -> None:
        if _stage_of(task) != self._helped:
            self.close()
        if self._runtime.artifacts.exists(shard_key(task.sharded.key, task.number)):
            return
        child = self._child or self._started(task)
        self._hold(child, task)
        child.send(shard_line(task))
        assert self._row is not None
        with self._runtime.tracing.shard(self._row, task.sharded.title, task.number):
            self._await(child, task)
        discard_late(self._runtime, task.job_id)
        self._kept_until = time.monotonic() + _KEPT_SECONDS

    def _started(self, task: ShardTask) -> ChildProcess:
        """A new child for the stage. Raises LeaseLost, MasktuneError, OSError."""
        with self._runtime.database.read() as session:
            leases.held(session, _lease(task))
            self._row = jobs.get(session, task.job_id)
            spec = build_spec(session, self._row, slot=self._slot)
        spec = replace(spec, shard_threads=task.sharded.threads)
        child = self.spare.take(spec) or self._runtime.start_child()
        self._child, self._helped = child, _stage_of(task)
        child.send(spec.to_line())
        return child

    def _hold(self, child: ChildProcess, task: ShardTask) -> None:
        """Check that the attempt still runs and is not cancelled, and renew the child's deadline."""
        now = time.monotonic()
        with self._runtime.database.read() as session:
            if leases.held(session, _lease(task)) is not JobState.RUNNING:
                raise LeaseLost(task.job_id)
        child.send(deadline_line(now + self._settings.lease_seconds))
        self._look_at = now + self._settings.control_seconds

    def _await(self, child: ChildProcess, task: ShardTask) -> None:
        """Wait until the child has put the shard. Raises LeaseLost, and _GivenUp if it cannot."""
        last_sign_at = time.monotonic()
        while True:
            lines, ended = child.read(_LOOK_SECONDS)
            for message in map(parse, lines):
                if self._notice(message, task):
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
                raise LeaseLost(task.job_id)  # as far as this worker is concerned
            if now >= self._look_at:
                self._hold(child, task)

    def _notice(self, message: Message | None, task: ShardTask) -> bool:
        """Whether it says that the shard is done."""
        match message:
            case PassOpened(kind=kind):
                self._kind = kind
                if kind != task.sharded.kind:
                    raise _GivenUp(f"this host is {kind}, and the job's is {task.sharded.kind}")
                if _pass_of(task) != self._announced:
                    with self._runtime.database.begin() as session:
                        line = f"worker {self._runtime.name} helps with {task.sharded.title}"
                        leases.log(session, _lease(task), line)
                    self._announced = _pass_of(task)
            case ShardFinished():
                if message.double:
                    logger.info("shard %d of %s was computed twice", task.number, task.sharded.title)
                return message.number == task.number
        return False

    def _leave(self, job_id: str) -> None:
        """End the child in the middle of a shard, and remove what it may have put too late."""
        if self._child is not None:
            self.close()
            discard_late(self._runtime, job_id)


def _pass_of(task: ShardTask) -> ShardTask:
    """Equal for all shards of a pass of one attempt."""
    return replace(task, number=0)


def _stage_of(task: ShardTask) -> tuple[object, ...]:
    """Equal for all passes that one child can make: those of a stage of one attempt."""
    return task.job_id, task.token, task.sharded.stage, task.sharded.threads


def _lease(task: ShardTask) -> Lease:
    return Lease(task.job_id, task.token)
