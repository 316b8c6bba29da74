"""A pass over images in shards, and the one loop that a job's own child makes over it.

The shards are cut by the data alone. Each is computed by one function and is an artifact of its own in the
job's work folder, put if absent; it is the same, byte for byte, whoever computes it. So a killed job goes on
with those that are missing, and other workers may compute some meanwhile: they begin with the first, the job
with the last. Whoever begins one claims it, and the others leave it out. What was claimed and does not come,
the job computes at last.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from core.storage.artifacts import Artifacts
from models.run import Progress, ignore_progress

SHARD_IMAGES = 512
"""A multiple of the batches of an evaluation. Of other batches, a shard has as many as fit, or one."""
_WORTH_OFFERING = 3
"""Shards: of fewer, another worker would compute none."""
LISTING_SHARE = 0.02
"""The most of its time in which a job lists what others have put: of 20,000 shards, seconds on S3."""
_WAIT_SECONDS = 0.2
"""Between two looks for the last shards of others."""
_PATIENCE = 2.0
"""For how many times as long as a shard takes here the job waits for them."""

Arguments = dict[str, str | None]
OnProgress = Callable[[Progress], None]


class ShardedPass(Protocol):
    """A pass over images. What it makes of a shard depends on the images of that shard alone."""

    name: str
    """Of its kind, by which `worker.child.passes` rebuilds it."""
    arguments: Arguments | None
    """What else that takes; None if no other process can."""
    title: str
    """What it computes, for the job's log."""
    key: str
    """The parent of the shards' artifacts; `shard_key` has theirs."""
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


def put_shard(
    artifacts: Artifacts, sharded: ShardedPass, number: int, write: Callable[[Path], object]
) -> bool:
    """Put a computed shard; False if it was there already."""
    with artifacts.copies.writing() as folder:
        write(folder)
        return artifacts.put_if_absent(folder, shard_key(sharded.key, number))


def compute_shard(sharded: ShardedPass, artifacts: Artifacts, number: int, *, attempt: str) -> bool:
    """Compute a shard and put it, unless another process has begun it in this attempt of its job; returns
    whether one has put it meanwhile all the same. Raises as the pass."""
    double = False
    if _claim(sharded, artifacts, number, attempt):
        for _, write in sharded.compute([number], ignore_progress):
            double = not put_shard(artifacts, sharded, number, write)
    return double


def compute_missing(
    sharded: ShardedPass,
    artifacts: Artifacts,
    on_progress: OnProgress,
    offer: Callable[[Sequence[int]], bool],
    *,
    attempt: str,
    should_stop: Callable[[], bool],
) -> ShardCounts:
    """Compute the shards that are not there, from the last to the first, until all are.
    Raises as the pass.

    `offer` tells other workers of the missing ones, and says whether there may be any. Progress counts the
    images of all shards that are there.
    """
    if not sharded.sizes:
        return ShardCounts(0, 0, 0, None)
    images, started, missing = sum(sharded.sizes), time.monotonic(), _missing(sharded, artifacts)
    shared = len(missing) >= _WORTH_OFFERING and sharded.arguments is not None and offer(missing)
    left = new = _images(sharded, missing)
    here = doubles = computed = 0
    not_listed, look_at = set(missing), 0.0

    def list_shards() -> None:
        nonlocal not_listed, look_at
        began = time.monotonic()
        not_listed = set(_missing(sharded, artifacts))
        look_at = began + (time.monotonic() - began) / LISTING_SHARE

    def report(progress: Progress) -> None:
        """Count the images that are done, beside those of the shards that are there."""
        begun = progress.step * images // max(1, progress.steps) - computed
        there = min(images, images - left + max(0, min(begun, max(sharded.sizes))))
        on_progress(Progress(0, 1, there, images, progress.images_per_second))

    def not_begun() -> Iterator[int]:
        for number in reversed(missing):
            if number in not_listed and (not shared or _claim(sharded, artifacts, number, attempt)):
                yield number

    def compute(numbers: Iterable[int]) -> None:
        nonlocal here, doubles, computed, left
        for number, write in sharded.compute(numbers, report):
            doubles += not put_shard(artifacts, sharded, number, write)
            here, computed = here + 1, computed + sharded.sizes[number]
            not_listed.discard(number)
            if time.monotonic() >= look_at:
                list_shards()
            left = _images(sharded, not_listed)
            pace = computed / (time.monotonic() - started)
            on_progress(Progress(0, 1, images - left, images, pace, checkpoint=True))

    compute(not_begun())
    wait_until = time.monotonic() + _PATIENCE * (time.monotonic() - started) / max(1, here)
    while not_listed and time.monotonic() < wait_until and not should_stop():
        time.sleep(_WAIT_SECONDS)
        list_shards()
    if not_listed:  # whoever began them was killed, or is slow
        compute(sorted(not_listed, reverse=True))
    rate = round(new / (time.monotonic() - started), 1) if new else None
    return ShardCounts(here, max(0, len(missing) - (here - doubles)), doubles, rate)


def _claim(sharded: ShardedPass, artifacts: Artifacts, number: int, attempt: str) -> bool:
    """Whether this process may compute the shard: no other has begun it in this attempt of its job."""
    return artifacts.claim(shard_key(f"{sharded.key}-begun-{attempt}", number))


def _missing(sharded: ShardedPass, artifacts: Artifacts) -> list[int]:
    """The numbers of the shards that are not there."""
    names = artifacts.names(sharded.key)
    return [number for number in range(len(sharded.sizes)) if f"{number:06}" not in names]


def _images(sharded: ShardedPass, numbers: Iterable[int]) -> int:
    return sum(sharded.sizes[number] for number in numbers)
