"""One job, one child process: start it, keep its lease, write what it reports, end it, settle the job."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from enum import Enum, auto

from sqlalchemy.orm import Session

from core.errors import MasktuneError
from core.queries import leases
from core.queries.leases import Lease, LeaseLost
from core.session import after_commit
from core.settings import Settings
from core.tracing import Attempt
from core.trash import discard
from core.vocabulary import JobState
from worker import records
from worker.briefing import brief
from worker.endings import Broken, crashed, not_started, silent, supervision_problem
from worker.inbox import Inbox
from worker.messages import Message, parse
from worker.process_tree import ChildProcess
from worker.runtime import Runtime
from worker.spec import Spec
from worker.weather import Away, asking

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
"""How long the loop may sleep: a worker that is told to stop does so within this time."""
_RETRY_SECONDS = 0.5
"""Between two tries of a database that is away."""


class Why(Enum):
    """Why a child is not watched any longer."""

    EXITED = auto()
    CANCELLED = auto()
    STOPPING = auto()
    """The worker is being stopped: the job goes back to the queue."""
    LOST = auto()
    """The lease is gone: nothing may be written any more."""
    SILENT = auto()
    """It gives no sign of life any more."""


class Supervisor:
    """Runs one claimed job to its end on this thread. All writes carry the lease's fencing token."""

    def __init__(
        self, runtime: Runtime, lease: Lease, *, slot: int, claimed_at: float, trace: Attempt | None = None
    ) -> None:
        self._runtime, self._settings, self._lease, self._slot = runtime, runtime.settings, lease, slot
        self._trace = trace or Attempt()
        self._inbox = Inbox()
        self._failed: Message | None = None
        self._done = False
        self._kept_until = claimed_at + self._settings.lease_seconds
        """When the lease runs out unless it is renewed, by this host's monotonic clock: never too late."""
        self._renew_at = self._control_at = claimed_at
        self._retry_at = 0.0

    def run(self) -> None:
        """Return when the job is settled and its child, with all it started, is gone.

        An error of our own or of the database that does not pass by itself (a value it refuses) would
        come again at every attempt: the job fails at once and says so, instead of looking busy until
        its lease lapses.
        """
        try:
            self._run()
        except Exception as error:
            logger.exception("job %s: it could not be supervised", self._lease.job_id)
            self._inbox.clear()
            problem = supervision_problem(error)
            self._settle(lambda session: records.end(session, self._lease, JobState.FAILED, error=problem))

    def _run(self) -> None:
        try:
            spec = self._transaction(self._begin)
        except LeaseLost:
            return
        except MasktuneError as error:  # what the job reads is gone: no attempt will find it
            problem = error.to_problem()
            self._settle(lambda session: records.end(session, self._lease, JobState.FAILED, error=problem))
            return
        if spec is None:
            return  # the database is away: the lease runs out, and the sweep queues the job again
        if not spec.stages:  # killed between its last stage and its end
            self._succeed()
            return
        try:
            child = ChildProcess(self._runtime.child, environment=environment(self._settings))
        except OSError as error:  # no memory, process or descriptor now: a later attempt may have them
            logger.warning("job %s: its process could not be started (%s)", self._lease.job_id, error)
            self._broke(not_started(error))
            return
        self._runtime.children.add(child)
        try:
            child.send(spec.to_line())
            self._tell_until(child)
            why = self._watch(child)
        finally:
            child.end(self._settings.end_grace_seconds)
            self._runtime.children.discard(child)
        logger.info("job %s: %s", self._lease.job_id, why.name.lower())
        failed = why in (Why.LOST, Why.SILENT) or (why is Why.EXITED and not self._done)
        self._trace.ended(why.name.lower(), failed=failed)
        self._conclude(why, child.returncode)

    # --- while the child runs ---------------------------------------------------------------------

    def _watch(self, child: ChildProcess) -> Why:
        heard_at = time.monotonic()
        while True:
            lines, ended = child.read(_LOOK_SECONDS)
            for message in filter(None, map(parse, lines)):
                self._notice(message)
            if self._runtime.stopping.is_set():
                return Why.STOPPING
            now = time.monotonic()
            if lines or ended:
                heard_at = now
            elif 0 < self._settings.child_silent_seconds < now - heard_at:
                logger.warning("job %s: its process is silent and will be ended", self._lease.job_id)
                child.tell_where()
                return Why.SILENT
            if now > self._kept_until:
                logger.warning("job %s: the lease could not be renewed in time", self._lease.job_id)
                return Why.LOST
            if now >= self._retry_at:
                try:
                    with asking():
                        state = self._keep(child, now)
                        self._write(now, everything=ended)
                except LeaseLost:
                    return Why.LOST
                except Away as error:
                    logger.warning("job %s: the database is away (%s)", self._lease.job_id, error)
                    self._retry_at = now + _RETRY_SECONDS
                else:
                    if state is JobState.CANCELLING:
                        return Why.CANCELLED
            if ended:
                return Why.EXITED

    def _notice(self, message: Message) -> None:
        if message["type"] == "failed":
            self._failed = message
        elif message["type"] == "done":
            self._done = True
        elif message["type"] != "alive":
            if message["type"] == "stage_started":
                self._trace.stage_started(message["stage"])
            elif message["type"] == "stage_finished":
                self._trace.stage_finished(message["stage"])
            self._inbox.put(message)

    def _keep(self, child: ChildProcess, now: float) -> JobState:
        """Look whether the job is still ours and wanted, and renew the lease when it is time."""
        state = JobState.RUNNING
        if now >= self._control_at:
            with self._runtime.database.read() as session:
                state = leases.held(session, self._lease)
            self._control_at = now + self._settings.control_seconds
        if now >= self._renew_at:
            with self._runtime.database.begin() as session:
                leases.renew(session, self._lease, lease_seconds=self._settings.lease_seconds)
            self._kept_until = now + self._settings.lease_seconds
            self._renew_at = now + self._settings.heartbeat_seconds
            self._tell_until(child)
        return state

    def _tell_until(self, child: ChildProcess) -> None:
        """The child ends itself at that time: a stopped supervisor's child must not outlive the lease."""
        child.send(json.dumps({"until": self._kept_until}).encode())

    def _write(self, now: float, *, everything: bool = False) -> None:
        """Write what has come in, oldest first; what fails stays for the next try."""
        while (message := self._inbox.next(now, everything=everything)) is not None:
            with self._runtime.database.begin() as session:
                self._record(session, message)
            self._inbox.written(now)

    def _record(self, session: Session, message: Message) -> None:
        if message["type"] == "progress":
            progress = {k: v for k, v in message.items() if k not in ("type", "advanced")}
            leases.write_progress(session, self._lease, progress, advanced=message.get("advanced", False))
        else:
            records.record(session, self._lease, message)

    # --- when it has ended ------------------------------------------------------------------------

    def _conclude(self, why: Why, returncode: int | None) -> None:
        if why is Why.LOST:
            logger.warning("job %s: the lease is lost; its next holder goes on", self._lease.job_id)
        elif why is Why.CANCELLED:
            self._settle(lambda session: records.end(session, self._lease, JobState.CANCELLED))
        elif self._done:
            self._succeed()
        elif self._failed is not None:
            self._fail(self._failed)
        elif why is Why.STOPPING:
            self._settle(self._give_back)
        elif why is Why.SILENT:
            self._broke(silent(self._settings.child_silent_seconds))
        else:
            logger.warning("job %s: its process ended with %s", self._lease.job_id, returncode)
            self._broke(crashed(returncode))

    def _succeed(self) -> None:
        self._settle(self._finish)

    def _finish(self, session: Session) -> None:
        """End the job, and with it the work folder, which nothing needs any more."""
        records.end(session, self._lease, JobState.SUCCEEDED)
        work = f"jobs/{self._lease.job_id}/work"
        discard(session, self._runtime.database, self._runtime.artifacts, [work])

    def _fail(self, message: Message) -> None:
        if message.get("retry"):
            self._try_again(message["error"], str(message["error"].get("detail", "the stage gave up")))
        else:
            self._settle(
                lambda session: records.end(session, self._lease, JobState.FAILED, error=message["error"])
            )

    def _broke(self, broken: Broken) -> None:
        self._try_again(broken.problem(self._settings.max_crashes), broken.how)

    def _try_again(self, error: dict[str, object], reason: str) -> None:
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

    def _give_back(self, session: Session) -> None:
        if leases.release(session, self._lease, reason="worker stopped") is JobState.QUEUED:
            after_commit(session, lambda: self._runtime.doorbell.ring(self._lease.job_id))

    def _settle(self, change: Callable[[Session], object]) -> bool:
        """Write what is left and the end, as often as it takes, while the lease lasts."""
        while time.monotonic() <= self._kept_until:
            try:
                with asking():
                    self._write(time.monotonic(), everything=True)
                    with self._runtime.database.begin() as session:
                        change(session)
            except LeaseLost:
                break
            except Away as error:
                logger.warning("job %s could not be settled (%s)", self._lease.job_id, error)
                time.sleep(_RETRY_SECONDS)
            else:
                return True
        logger.warning("job %s was not settled here: the lease is lost", self._lease.job_id)
        return False

    def _begin(self, session: Session) -> Spec:
        return brief(session, records.begin(session, self._lease), slot=self._slot)

    def _transaction(self, change: Callable[[Session], Spec]) -> Spec | None:
        try:
            with asking(), self._runtime.database.begin() as session:
                return change(session)
        except Away as error:
            logger.warning("job %s could not be started (%s)", self._lease.job_id, error)
            return None


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a child: this process's, with the settings as they are here, without the keys."""
    told = settings.model_dump(mode="json", exclude={"api_keys"})
    named = {f"MASKTUNE_{name.upper()}": str(value) for name, value in told.items() if value is not None}
    own = {name: value for name, value in os.environ.items() if name != "MASKTUNE_API_KEYS"}
    return own | named
