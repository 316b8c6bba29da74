"""A child's messages that are not written yet, in order and with progress thinned out."""

from __future__ import annotations

from collections import deque

from worker.protocol import ProgressReport, Record

PROGRESS_SECONDS = 0.5
"""Minimum seconds between two writes of mere progress. The end of an epoch or stage is never delayed."""


class PendingMessages:
    """A queue in which progress replaces the progress before it, unless that one reported an epoch."""

    def __init__(self) -> None:
        self._waiting: deque[Record] = deque()
        self._progress_at = float("-inf")

    def put(self, message: Record) -> None:
        if self._waiting and isinstance(message, ProgressReport) and _is_transient(self._waiting[-1]):
            self._waiting.pop()
        self._waiting.append(message)

    def next(self, now: float, *, everything: bool = False) -> Record | None:
        """The message to write now, or None; it stays in the queue until `written` is called."""
        if not self._waiting:
            return None
        head = self._waiting[0]
        may_wait = _is_transient(head) and len(self._waiting) == 1
        if may_wait and not everything and now < self._progress_at + PROGRESS_SECONDS:
            return None
        return head

    def clear(self) -> None:
        """Drop the waiting messages."""
        self._waiting.clear()

    def written(self, now: float) -> None:
        if isinstance(self._waiting.popleft(), ProgressReport):
            self._progress_at = now


def _is_transient(message: Record) -> bool:
    """Whether it is progress that may be replaced: it reports no epoch, neither a checkpoint nor figures."""
    return isinstance(message, ProgressReport) and not message.advanced and not message.metrics
