"""The spare child of a slot: a process that is started while the slot is idle, loads torch and the stages,
and waits for the spec of the slot's next job."""

from __future__ import annotations

import logging

from masktune.contract.vocabulary import JobKind
from worker.child_process import ChildProcess
from worker.protocol import SPARE, Spec
from worker.runtime import Runtime
from worker.workspace import usual_threads

logger = logging.getLogger(__name__)


class SpareChild:
    """At most one process, which belongs to one slot and is used on its thread.

    A slot never has a spare beside a job: so a worker needs no more memory than with a job in every slot.
    """

    def __init__(self, runtime: Runtime, *, enabled: bool) -> None:
        self._runtime, self._enabled = runtime, enabled
        self._child: ChildProcess | None = None
        self._start_tried = False

    def start(self) -> None:
        """Start it, once before each job: if it fails, or ends while it waits, the job gets a new process."""
        if self._start_tried or not self._enabled:
            return
        self._start_tried = True
        try:
            self._child = self._runtime.start_child(SPARE)
        except OSError as error:
            logger.warning("no spare child could be started (%s)", error)

    def take(self, spec: Spec) -> ChildProcess | None:
        """Hand it over to run this job, or to help it.
        None, and it is gone, if it cannot: it has ended, or the job is an import, or may have other threads,
        whose number is set before torch is loaded."""
        child, self._child, self._start_tried = self._child, None, False
        if child is None:
            return None
        usual = usual_threads(self._runtime.settings)
        suits = spec.begins if spec.shard_threads is None else spec.shard_threads == usual
        if child.returncode is None and suits and spec.kind is not JobKind.IMPORT:
            return child
        if child.returncode is not None:
            logger.warning("the spare child ended with %d while it waited", child.returncode)
        self._runtime.end_child(child)
        return None

    def end(self) -> None:
        """End it, if there is one. It may be started again."""
        child, self._child, self._start_tried = self._child, None, False
        if child is not None:
            self._runtime.end_child(child)
