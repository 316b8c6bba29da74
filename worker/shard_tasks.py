"""Shards of a pass as one worker offers them to the others, and how a worker hands them to its slots."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import TypeAdapter

from masktune.contract.vocabulary import Stage
from worker.results import Json


@dataclass(frozen=True, kw_only=True)
class PassSpec:
    """A pass of a job's stage over images; its name and `arguments` rebuild it (`worker.child.passes`).

    Its shards are the same, byte for byte, on every host of this `kind` (`worker.child.runner.kind_of`) that
    computes them with as many `threads`. `key` is the parent of theirs, `title` what they are, for people.
    """

    stage: Stage
    pass_name: str
    arguments: dict[str, str | None]
    key: str
    title: str
    kind: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """A shard of a pass, of the attempt `token` at a job."""

    job_id: str
    token: int
    sharded: PassSpec
    number: int

    def to_json(self) -> Json:
        source: Json = _TASK.dump_python(self, mode="json")
        return source

    @staticmethod
    def from_json(source: Json) -> ShardTask:
        """Raises ValidationError of pydantic."""
        return _TASK.validate_python(source)


_TASK: TypeAdapter[ShardTask] = TypeAdapter(ShardTask)


class ShardExchange:
    """Hands one shard at a time from the broker's thread to a slot without a job.
    What no slot takes stays with the broker."""

    def __init__(self) -> None:
        self._offered: ShardTask | None = None
        self._changed = threading.Condition()

    def offer(self, task: ShardTask, seconds: float, wake: Callable[[], None]) -> bool:
        """Whether a slot has taken the shard within so many seconds; `wake` wakes the slots."""
        with self._changed:
            self._offered = task
            self._changed.notify_all()
            wake()
            taken = self._changed.wait_for(lambda: self._offered is None, seconds)
            self._offered = None
            return taken

    def take(self, accepts: Callable[[ShardTask], bool], seconds: float) -> ShardTask | None:
        """The shard on offer, or one that is offered within so many seconds; None if it is not accepted."""
        with self._changed:
            self._changed.wait_for(lambda: self._offered is not None and accepts(self._offered), seconds)
            task = self._offered
            if task is None or not accepts(task):
                return None
            self._offered = None
            self._changed.notify_all()
            return task
