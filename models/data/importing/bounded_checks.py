"""Check images in processes of their own, within a budget of CPU time and memory for each image.

A thread that hangs in a decoder cannot be ended, and a decoder that crashes takes its process along. Here
that process only checks images: it is replaced, and the file is rejected. Does not import torch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from ctypes import c_bool
from dataclasses import dataclass
from functools import partial

from models.data.images.checks import TOO_MUCH_MEMORY, CheckedImage
from models.data.images.limits import ImageLimits
from models.data.importing.sources import Source
from models.data.report import FileCode, Rejection
from models.runtime.bounded import FORK, ProcessBudget, call_inherited, forked, limited_memory
from models.runtime.ordered import in_order

_MOST_TOGETHER = 32
"""Most images of a task: to send the outcomes of four costs a third of what it costs to check small ones."""
_AHEAD = 4
"""Tasks in advance, for each process."""


def check_budget(limits: ImageLimits) -> ProcessBudget:
    """Of each image, far above what images of 49 million pixels took: 2 s for a JPEG of 100 scans, 18 bytes a
    pixel for a PNG with transparency that is turned upright."""
    return ProcessBudget(cpu_seconds=60, memory=(1 << 30) + 32 * limits.max_pixels)


def task_size(count: int, processes: int) -> int:
    """Images of a task, of so many images in all: few where there are few, so that no process waits long for
    the others at the end."""
    return min(_MOST_TOGETHER, max(1, count // (2 * _AHEAD * processes)))


def check_in_order(
    source: Source, tasks: Iterable[range], processes: int, budget: ProcessBudget
) -> Iterator[list[CheckedImage | Rejection]]:
    """What `source.check` returns for the images of each task, in order; a rejection for one that exceeds
    `budget` or crashes. `tasks` are drawn a little in advance."""
    left, pending = iter(tasks), deque[range]()

    def begun() -> Iterator[range]:
        yield from tuple(pending)  # those that a process left when it ended
        for task in left:
            pending.append(task)
            yield task

    while True:
        try:
            for checked in _check(source, begun(), processes, budget):
                pending.popleft()
                yield checked
        except BrokenProcessPool:  # by an image of this task, or of one in advance
            yield [_check_alone(source, index, budget) for index in pending.popleft()]
        else:
            return


def _check(
    source: Source, tasks: Iterator[range], processes: int, budget: ProcessBudget
) -> Iterator[list[CheckedImage | Rejection]]:
    """Raises `BrokenProcessPool` when an image has ended its process."""
    leaving = FORK.RawValue(c_bool, False)
    pool = forked(processes, _Worker(source, budget, leaving).check)
    try:
        works = (partial(call_inherited, task) for task in tasks)
        yield from in_order(pool, works, ahead=_AHEAD * processes)
    finally:
        leaving.value = True
        pool.shutdown(cancel_futures=True)


def _check_alone(source: Source, index: int, budget: ProcessBudget) -> CheckedImage | Rejection:
    try:
        return next(_check(source, iter([range(index, index + 1)]), 1, budget))[0]
    except BrokenProcessPool:
        return Rejection(
            source.manifest.entries[index].path,
            FileCode.UNDECODABLE,
            f"takes more than {budget.cpu_seconds} s to decode, or crashes the decoder: export it again",
        )


# --- in a process that checks images ---


@dataclass(frozen=True)
class _Worker:
    """What each process inherits. `leaving` is shared memory: nobody waits for the outcomes any more."""

    source: Source
    budget: ProcessBudget
    leaving: c_bool

    def check(self, images: range) -> list[CheckedImage | Rejection]:
        with limited_memory(self.budget.memory):
            return [self._check_one(index) for index in images if not self.leaving.value]

    def _check_one(self, index: int) -> CheckedImage | Rejection:
        self.budget.start_step()
        try:
            return self.source.check(index)
        except MemoryError:
            return Rejection(self.source.manifest.entries[index].path, FileCode.UNDECODABLE, TOO_MUCH_MEMORY)
