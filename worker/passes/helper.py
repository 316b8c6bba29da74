"""A slot without a job computes shards of passes that other jobs make, in a child of its own.

The child writes nothing but shards, which the job finds when it comes to them. It ends with the attempt at
the job, as the database has it, and with its worker.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Collection
from dataclasses import replace
from typing import TypeVar

from core import logs
from core.errors import MasktuneError
from core.queries import jobs, leases, passes
from core.queries.leases import Lease, LeaseLost
from core.tables import JobRow, PassRow
from masktune.contract.vocabulary import JobKind, JobState
from worker.child_process import ChildProcess
from worker.passes.shards import shard_key
from worker.protocol import PassOpened, ShardFinished, deadline_line, parse, shards_line
from worker.runtime import Runtime
from worker.supervisor.db_errors import Transient, transient_errors
from worker.supervisor.late_artifacts import discard_late
from worker.supervisor.spare_child import SpareChild
from worker.supervisor.spec_builder import build_spec
from worker.workspace import helper_folder

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
"""The longest sleep of the loop, until it notices that the worker must stop."""
_KEPT_SECONDS = 5.0
"""How long a child is kept without a shard.
The next takes milliseconds, a new child seconds."""

Answer = TypeVar("Answer", PassOpened, ShardFinished)


class _GivenUp(Exception):
    """This slot does not go on with the pass.
    The message says why."""


class PassHelper:
    """Computes shards on the thread of its slot, `slot` of the host's GPUs; for one job at a time."""

    def __init__(self, runtime: Runtime, slot: int, spare: SpareChild) -> None:
        self._runtime, self._settings, self._slot = runtime, runtime.settings, slot
        self.spare = spare
        self._child: ChildProcess | None = None
        self._job: JobRow | None = None
        self._stage: tuple[Lease, object] | None = None  # of the child
        self._opened: tuple[Lease, str] | None = None  # the pass that it computes shards of
        self._refused = set[str]()
        """Keys of passes that failed here, and kinds of hosts that this one is not: there, sums round
        otherwise."""
        self._kept_until = self._look_at = 0.0

    @property
    def patience(self) -> float:
        """How many seconds the slot waits for the next shard."""
        return 0.0 if self._child is None else max(0.0, self._kept_until - time.monotonic())

    def compute_shard(self, kinds: Collection[JobKind]) -> bool:
        """Compute one shard of a pass of a job of these kinds; False if none is left for this slot.
        Whatever fails, the job goes on."""
        try:
            with transient_errors():
                with self._runtime.database.read() as session:
                    rows = passes.best(session, kinds)
                row = next(filter(self._accepts, rows), None)
                if row is None:
                    return False
                with logs.bind(job_id=row.job_id):
                    self._help(row, Lease(row.job_id, row.token))
        except (Transient, OSError) as error:
            logger.warning("no shard could be computed (%s)", error)
            self.close()
            self._runtime.stopping.wait(_LOOK_SECONDS)
        return True

    def _accepts(self, row: PassRow) -> bool:
        return self._refused.isdisjoint((row.key, row.spec["kind"]))

    def close(self) -> None:
        """End the child, and with it what it holds of the device."""
        if self._child is not None:
            child, self._child, self._stage, self._opened = self._child, None, None, None
            self._runtime.end_child(child)
            shutil.rmtree(helper_folder(self._settings.scratch, child.mark), ignore_errors=True)

    def _help(self, row: PassRow, lease: Lease) -> None:
        try:
            self._compute_shard(row, lease)
        except (LeaseLost, MasktuneError):  # the job has ended, or an input of it is gone
            self._leave(lease)
        except _GivenUp as reason:
            logger.warning("%s: %s", row.spec["title"], reason)
            self._refused.add(row.key)
            self._leave(lease)

    def _compute_shard(self, row: PassRow, lease: Lease) -> None:
        if self._stage != (lease, row.spec["stage"]):
            self.close()
        child = self._child or self._started(row, lease)
        self._hold(child, lease)
        if self._opened != (lease, row.key):
            self._open(child, row, lease)
        with self._runtime.database.begin() as session:
            numbers = passes.take(session, lease, row.key)
        for number in numbers:
            if self._runtime.artifacts.exists(shard_key(row.key, number)):
                continue  # the job has computed it while the database was away
            child.send(shards_line(row.key, [number]))
            assert self._job is not None
            with self._runtime.tracing.shard(self._job, row.spec["title"], number):
                double = self._answer(child, lease, ShardFinished).double
            outcome = "was computed twice" if double else "was computed for another worker"
            logger.info("shard %d of %s %s", number, row.spec["title"], outcome)
            discard_late(self._runtime, lease.job_id)
        self._kept_until = time.monotonic() + _KEPT_SECONDS

    def _started(self, row: PassRow, lease: Lease) -> ChildProcess:
        """A new child for the stage.
        Raises LeaseLost, MasktuneError, OSError."""
        with self._runtime.database.read() as session:
            leases.held(session, lease)
            self._job = jobs.get(session, lease.job_id)
            spec = build_spec(session, self._job, slot=self._slot)
        spec = replace(spec, shard_threads=row.spec["threads"])
        child = self.spare.take(spec) or self._runtime.start_child()
        self._child, self._stage = child, (lease, row.spec["stage"])
        child.send(spec.to_line())
        return child

    def _open(self, child: ChildProcess, row: PassRow, lease: Lease) -> None:
        """Have the child rebuild the pass.
        Raises LeaseLost, and _GivenUp if it cannot."""
        child.send(shards_line(row.key, [], row.spec))
        kind = self._answer(child, lease, PassOpened).kind
        if kind != row.spec["kind"]:
            self._refused.add(row.spec["kind"])
            raise _GivenUp(f"this host is {kind}, and the job's is {row.spec['kind']}")
        with self._runtime.database.begin() as session:
            leases.log(session, lease, f"worker {self._runtime.name} helps with {row.spec['title']}")
        self._opened = lease, row.key

    def _hold(self, child: ChildProcess, lease: Lease) -> None:
        """Check that the attempt still runs and is not cancelled, and renew the child's deadline."""
        now = time.monotonic()
        with self._runtime.database.read() as session:
            if leases.held(session, lease) is not JobState.RUNNING:
                raise LeaseLost(lease.job_id)
        child.send(deadline_line(now + self._settings.lease_seconds))
        self._look_at = now + self._settings.control_seconds

    def _answer(self, child: ChildProcess, lease: Lease, kind: type[Answer]) -> Answer:
        """The child's next message of this kind.
        Raises LeaseLost, and _GivenUp if none comes."""
        last_sign_at = time.monotonic()
        while True:
            lines, ended = child.read(_LOOK_SECONDS)
            for message in map(parse, lines):
                if isinstance(message, kind):
                    return message
            if ended:
                raise _GivenUp(f"the process that computes shards ended with {child.returncode}")
            now = time.monotonic()
            if lines:
                last_sign_at = now
            elif 0 < self._settings.child_silent_seconds < now - last_sign_at:
                child.dump_stacks()
                raise _GivenUp("the process that computes shards is silent")
            if self._runtime.stopping.is_set():
                raise LeaseLost(lease.job_id)  # as far as this worker is concerned
            if now >= self._look_at:
                self._hold(child, lease)

    def _leave(self, lease: Lease) -> None:
        """End the child in the middle of a shard, and remove what it may have put too late."""
        if self._child is not None:
            self.close()
            discard_late(self._runtime, lease.job_id)
