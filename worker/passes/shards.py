"""A pass over images in shards, and the run that a job's own child makes of it.

The shards are cut by the data alone. Each is computed by one function and is an artifact of its own in the
job's work folder, put if absent; it is the same, byte for byte, whoever computes it. So a killed job goes on
with the missing shards, and other workers may compute some meanwhile. All take shards from the same row of
the database (`core.queries.passes`), so that nobody computes what another has begun. At the end the job
computes every shard that another worker took but did not put.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from core.storage.artifacts import Artifacts
from models.run import OnProgress, Progress

SHARD_IMAGES = 512
"""A multiple of the batches of an evaluation.
Of other batches, a shard has as many as fit, or one."""
_WORTH_SHARING = 3
"""Shards: of fewer, another worker would compute none."""
_LARGEST_BLOCK, _BLOCK_SECONDS = 8, 2.0
"""The most shards that the job takes at a time, and for how long they keep it busy."""
_BLOCK_SHARE = 4
"""At most a fourth of the shards that are left, so that helpers get some of a short pass."""
LISTING_SHARE = 0.02
"""The most of its time in which a job lists what others have put: of 20,000 shards, seconds on S3."""
_WAIT_SECONDS = 0.2
"""Between two looks for the last shards of others."""
_PATIENCE = 2.0
"""For how many times as long as a shard takes here the job waits for them."""

Arguments = dict[str, str | None]
Take = Callable[[int], list[int] | None]
"""Takes up to so many shards of a pass: their numbers, none if all are taken. None if nobody can say, as long
as the database does not answer."""


class ShardedPass(Protocol):
    """A pass over images. What it makes of a shard depends on the images of that shard alone."""

    name: str
    """Of its kind, by which `worker.child.passes` rebuilds it."""
    arguments: Arguments | None
    """What else that takes; None if no other process can."""
    title: str
    """What it computes, for the job's log."""
    key: str
    """Below the key of the job's work folder, the parent of the shards' artifacts."""
    sizes: Sequence[int]
    """The images of each shard."""

    def compute(
        self, numbers: Iterable[int], on_progress: OnProgress
    ) -> Iterator[tuple[int, Callable[[Path], object]]]:
        """Yield, for each of these shards in order, its number and what writes its files into a folder.

        `numbers` is read a little ahead of the images, and no further. Progress counts batches or images.
        Raises Stopped or ImportStopped.
        """


class ShardCounts(NamedTuple):
    """Of a pass that is over: how many shards this process computed (of which `doubles` were there already
    when they were done), how many others did meanwhile, and images per second by all of them."""

    here: int
    others: int
    doubles: int
    images_per_second: float | None

    def in_words(self) -> str:
        both = f", {self.doubles} of them by both" if self.doubles else ""
        return f"{self.here} shards were computed here, {self.others} by other workers{both}"


def shard_key(key: str, number: int) -> str:
    """The key of the artifact of a shard of the pass with this key."""
    return f"{key}/{number:06}"


def put_shard(artifacts: Artifacts, key: str, number: int, write: Callable[[Path], object]) -> bool:
    """Put a computed shard of the pass with this key; False if it was there already."""
    with artifacts.copies.writing() as folder:
        write(folder)
        return artifacts.put_if_absent(folder, shard_key(key, number))


class PassRun:
    """Computes the missing shards of a pass, with other workers if there are any."""

    def __init__(
        self,
        sharded: ShardedPass,
        artifacts: Artifacts,
        key: str,
        on_progress: OnProgress,
        *,
        share: Callable[[Sequence[int]], Take | None],
        should_stop: Callable[[], bool],
    ) -> None:
        """`key` is the parent of the shards' artifacts. `share` lets other workers take of the missing shards
        too, and says how this process takes some; None if no other can. Progress counts the images of all
        shards that are there."""
        self._sharded, self._artifacts, self._key = sharded, artifacts, key
        self._on_progress, self._share, self._should_stop = on_progress, share, should_stop
        self._images, self._started = sum(sharded.sizes), time.monotonic()
        self._begun = set[int]()  # by this process
        self._here = self._doubles = self._computed = 0  # shards, and images
        self._left = set[int]()  # whose shards nobody has put, as far as this process knows
        self._list_at = 0.0

    def run(self) -> ShardCounts:
        """Return once all shards are there.
        Raises as the pass."""
        self._list()
        missing, self._list_at = sorted(self._left), 0.0
        if not missing:
            return ShardCounts(0, 0, 0, None)
        new = self._images_left()
        shares = len(missing) >= _WORTH_SHARING and self._sharded.arguments is not None
        take = self._share(missing) if shares else None
        self._compute(missing if take is None else self._taken(take, missing))
        self._await_others()
        if self._left:  # whoever took them was killed, or is slow
            self._compute(sorted(self._left))
        others = len(missing) - (self._here - self._doubles)
        return ShardCounts(self._here, others, self._doubles, round(new / self._seconds(), 1))

    def _taken(self, take: Take, missing: Sequence[int]) -> Iterator[int]:
        """The shards that this process takes. While nobody can say which are left, it goes on from the last
        to the first, where others come last."""
        last_first = (one for one in reversed(missing) if one in self._left and one not in self._begun)
        while (numbers := take(self._block())) != []:
            if numbers is None and not (numbers := list(islice(last_first, 1))):
                return
            for number in numbers:
                if number not in self._begun:
                    self._begun.add(number)
                    yield number

    def _block(self) -> int:
        """How many shards this process takes at a time."""
        busy = int(_BLOCK_SECONDS * self._here / self._seconds())
        return max(1, min(_LARGEST_BLOCK, busy, len(self._left) // _BLOCK_SHARE))

    def _compute(self, numbers: Iterable[int]) -> None:
        for number, write in self._sharded.compute(numbers, self._report):
            self._doubles += not put_shard(self._artifacts, self._key, number, write)
            self._here, self._computed = self._here + 1, self._computed + self._sharded.sizes[number]
            self._left.discard(number)
            if time.monotonic() >= self._list_at:
                self._list()
            there, pace = self._images - self._images_left(), self._computed / self._seconds()
            self._on_progress(Progress(0, 1, there, self._images, pace, checkpoint=True))

    def _report(self, progress: Progress) -> None:
        """Count the images that are done, beside those of the shards that are there."""
        done = progress.step * self._images // max(1, progress.steps) - self._computed
        there = self._images - self._images_left() + max(0, min(done, max(self._sharded.sizes)))
        self._on_progress(Progress(0, 1, min(self._images, there), self._images, progress.images_per_second))

    def _await_others(self) -> None:
        wait_until = time.monotonic() + _PATIENCE * self._seconds() / max(1, self._here)
        while self._left and time.monotonic() < wait_until and not self._should_stop():
            time.sleep(_WAIT_SECONDS)
            self._list()

    def _list(self) -> None:
        """Look which shards are there, and when to look again."""
        began, names = time.monotonic(), self._artifacts.names(self._key)
        self._left = {one for one in range(len(self._sharded.sizes)) if f"{one:06}" not in names}
        self._list_at = began + (time.monotonic() - began) / LISTING_SHARE

    def _images_left(self) -> int:
        return sum(self._sharded.sizes[number] for number in self._left)

    def _seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-9)
