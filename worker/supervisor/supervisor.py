"""Supervise one job in one child process: keep its lease, record its messages, end it, settle the job."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from enum import Enum, auto

from sqlalchemy.orm import Session

from core.errors import MasktuneError
from core.queries import leases, passes
from core.queries.leases import Lease, LeaseLost
from core.storage.trash import discard
from core.tracing import Attempt
from masktune.contract.vocabulary import JobState
from worker.child_process import ChildProcess
from worker.protocol import (
    Done,
    Failed,
    Message,
    PassBegan,
    Record,
    ShardsWanted,
    StageFinished,
    StageStarted,
    deadline_line,
    parse,
    shards_line,
)
from worker.runtime import Runtime
from worker.supervisor import recorder as records
from worker.supervisor.db_errors import Transient, transient_errors
from worker.supervisor.exit_reasons import AttemptFailure, crashed, not_started, silent, supervision_problem
from worker.supervisor.late_artifacts import discard_late
from worker.supervisor.recorder import PendingMessages
from worker.supervisor.spare_child import SpareChild
from worker.supervisor.spec_builder import build_spec

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
"""The longest sleep of the loop, and so the longest time until it notices that the worker must stop."""
_RETRY_SECONDS = 0.5
"""Pause between two tries while the database is unreachable."""


class StopReason(Enum):
    """Why the supervisor stopped watching the child."""

    EXITED = auto()
    CANCELLED = auto()
    STOPPING = auto()
    """The worker is being stopped: the job goes back to the queue."""
    LOST = auto()
    """The lease is lost, so nothing more may be written."""
    SILENT = auto()
    """The child no longer shows signs of life."""


class Supervisor:
    """Runs one claimed job to its end on this thread.
    All writes carry the lease's fencing token."""

    def __init__(
        self,
        runtime: Runtime,
        lease: Lease,
        *,
        slot: int,
        claimed_at: float,
        trace: Attempt | None = None,
        spare: SpareChild | None = None,
    ) -> None:
        self._runtime, self._settings, self._lease, self._slot = runtime, runtime.settings, lease, slot
        self._trace, self._spare = trace or Attempt(), spare or SpareChild(runtime, enabled=False)
        self._pending = PendingMessages()
        self._child: ChildProcess | None = None
        self._failure: Failed | None = None
        self._done = False
        self._lease_ends_at = claimed_at + self._settings.lease_seconds
        """When the lease expires unless renewed, on this host's monotonic clock; never later than the real
        expiry, since it counts from before the database's answer."""
        self._renew_at = self._control_at = claimed_at
        self._retry_at = 0.0

    def run(self) -> None:
        """Return once the job is settled and the child and every process it started are gone.

        A bug of ours, or a permanent database error (such as a value it rejects), would recur at every
        attempt. The job then fails at once with an explanation, instead of looking busy until its lease
        expires.
        """
        try:
            self._run()
        except Exception as error:
            logger.exception("job %s: it could not be supervised", self._lease.job_id)
            self._pending.clear()
            self._end(JobState.FAILED, supervision_problem(error))

    def _run(self) -> None:
        try:
            with transient_errors(), self._runtime.database.begin() as session:
                spec = build_spec(session, records.begin(session, self._lease), slot=self._slot)
        except LeaseLost:
            return
        except Transient as error:  # the lease expires, and the sweep requeues the job
            logger.warning("job %s could not be started (%s)", self._lease.job_id, error)
            return
        except MasktuneError as error:  # an input of the job is gone: a retry would not find it either
            self._end(JobState.FAILED, error.to_problem())
            return
        if not spec.stages:  # the last attempt was killed after its last stage, before the job was ended
            self._settle(self._finish)
            return
        try:
            child = self._spare.take(spec) or self._runtime.start_child()
        except OSError as error:  # out of memory, processes or descriptors: a later attempt may succeed
            logger.warning("job %s: its process could not be started (%s)", self._lease.job_id, error)
            self._retry(not_started(error))
            return
        try:
            self._child = child
            child.send(spec.to_line())
            self._send_deadline(child)
            reason = self._watch(child)
        finally:
            self._child = None
            self._runtime.end_child(child)
        logger.info("job %s: %s", self._lease.job_id, reason.name.lower())
        failed = reason in (StopReason.LOST, StopReason.SILENT) or (
            reason is StopReason.EXITED and not self._done
        )
        self._trace.ended(reason.name.lower(), failed=failed)
        self._conclude(reason, child.returncode)

    # --- while the child runs ---------------------------------------------------------------------

    def _watch(self, child: ChildProcess) -> StopReason:
        last_sign_at = time.monotonic()
        while True:
            lines, ended = child.read(_LOOK_SECONDS)
            for message in map(parse, lines):
                if message is not None:
                    self._notice(message)
            if self._runtime.stopping.is_set():
                return StopReason.STOPPING
            now = time.monotonic()
            if lines or ended:
                last_sign_at = now
            elif 0 < self._settings.child_silent_seconds < now - last_sign_at:
                logger.warning("job %s: its process is silent and will be ended", self._lease.job_id)
                child.dump_stacks()
                return StopReason.SILENT
            if now > self._lease_ends_at:
                logger.warning("job %s: the lease could not be renewed in time", self._lease.job_id)
                return StopReason.LOST
            if now >= self._retry_at:
                try:
                    with transient_errors():
                        state = self._hold_lease(child, now)
                        self._write(now, everything=ended)
                except LeaseLost:
                    return StopReason.LOST
                except Transient as error:
                    logger.warning("job %s: the database is away (%s)", self._lease.job_id, error)
                    self._retry_at = now + _RETRY_SECONDS
                else:
                    if state is JobState.CANCELLING:
                        return StopReason.CANCELLED
            if ended:
                return StopReason.EXITED

    def _notice(self, message: Message) -> None:
        match message:
            case Failed():
                self._failure = message
            case Done():
                self._done = True
            case StageStarted():
                self._trace.stage_started(message.stage)
            case StageFinished():
                self._trace.stage_finished(message.result.stage)
        if isinstance(message, Record):
            self._pending.put(message)

    def _hold_lease(self, child: ChildProcess, now: float) -> JobState:
        """Check that the job is still ours and not cancelled, and renew the lease when it is due."""
        state = JobState.RUNNING
        if now >= self._control_at:
            with self._runtime.database.read() as session:
                state = leases.held(session, self._lease)
            self._control_at = now + self._settings.control_seconds
        if now >= self._renew_at:
            with self._runtime.database.begin() as session:
                leases.renew(session, self._lease, lease_seconds=self._settings.lease_seconds)
            self._lease_ends_at = now + self._settings.lease_seconds
            self._renew_at = now + self._settings.heartbeat_seconds
            self._send_deadline(child)
        return state

    def _send_deadline(self, child: ChildProcess) -> None:
        """Tell the child the lease's deadline, at which it ends itself even if the supervisor is stopped."""
        child.send(deadline_line(self._lease_ends_at))

    def _write(self, now: float, *, everything: bool = False) -> None:
        """Write the received messages, oldest first; a message that could not be written stays queued."""
        while (message := self._pending.next(now, everything=everything)) is not None:
            if isinstance(message, ShardsWanted):
                self._give_shards(message)
            else:
                with self._runtime.database.begin() as session:
                    records.record(session, self._lease, message)
            if isinstance(message, PassBegan):
                self._runtime.wakeup.call()
                self._runtime.notifier.notify(self._lease.job_id)
            self._pending.written(now)

    def _give_shards(self, request: ShardsWanted) -> None:
        """Take shards of the pass for the child, unless it has ended."""
        if self._child is not None:
            with self._runtime.database.begin() as session:
                numbers = passes.take(session, self._lease, request.key, request.count)
            self._child.send(shards_line(request.key, numbers))

    # --- when it has ended ------------------------------------------------------------------------

    def _conclude(self, reason: StopReason, returncode: int | None) -> None:
        if reason is StopReason.LOST:
            logger.warning("job %s: the lease is lost; its next holder goes on", self._lease.job_id)
            self._discard_late()
        elif reason is StopReason.CANCELLED:
            self._end(JobState.CANCELLED)
        elif self._done:
            self._settle(self._finish)
        elif self._failure is not None and self._failure.retry:
            error = self._failure.error
            self._try_again(error, str(error.get("detail", "the stage gave up")))
        elif self._failure is not None:
            self._end(JobState.FAILED, self._failure.error)
        elif reason is StopReason.STOPPING:
            self._settle(lambda session: leases.release(session, self._lease, reason="worker stopped"))
        elif reason is StopReason.SILENT:
            self._retry(silent(self._settings.child_silent_seconds))
        else:
            logger.warning("job %s: its process ended with %s", self._lease.job_id, returncode)
            self._retry(crashed(returncode))

    def _discard_late(self) -> None:
        """The next holder may have ended the job before this one's process put its last shard."""
        try:
            with transient_errors():
                discard_late(self._runtime, self._lease.job_id)
        except Transient as error:
            logger.warning("job %s: late shards may be left (%s)", self._lease.job_id, error)

    def _finish(self, session: Session) -> None:
        """End the job and delete its work folder, which is no longer needed."""
        records.end(session, self._lease, JobState.SUCCEEDED)
        discard(session, self._runtime.database, self._runtime.artifacts, [f"jobs/{self._lease.job_id}/work"])

    def _end(self, state: JobState, error: Mapping[str, object] | None = None) -> None:
        self._settle(lambda session: records.end(session, self._lease, state, error=error))

    def _retry(self, failure: AttemptFailure) -> None:
        self._try_again(failure.problem(self._settings.max_crashes), failure.how)

    def _try_again(self, error: Mapping[str, object], reason: str) -> None:
        self._settle(
            lambda session: records.crashed(
                session,
                self._lease,
                error,
                reason=reason,
                max_crashes=self._settings.max_crashes,
                backoff=self._settings.retry_backoff_seconds,
            )
        )

    def _settle(self, change: Callable[[Session], object]) -> None:
        """Write the remaining messages and `change`; retry until it succeeds or the lease expires."""
        while time.monotonic() <= self._lease_ends_at:
            try:
                with transient_errors():
                    self._write(time.monotonic(), everything=True)
                    with self._runtime.database.begin() as session:
                        change(session)
            except LeaseLost:
                break
            except Transient as error:
                logger.warning("job %s could not be settled (%s)", self._lease.job_id, error)
                time.sleep(_RETRY_SECONDS)
            else:
                return
        logger.warning("job %s was not settled here: the lease is lost", self._lease.job_id)
