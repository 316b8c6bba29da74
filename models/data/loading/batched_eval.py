"""One pass over a loader with frozen weights: evaluation mode, progress, cancellation, and every core.

CPU cores that share a batch wait for each other after every operation, which on some machines takes longer
than the work. So a pass gives each core its own batch: up to 1.4 times as fast on two (`benchmarks.masking`).
The arithmetic is then that of one thread on any number of cores; several threads on one batch would round
differently, by 5e-5 in ResNet-50's scores. Timing never decides how a batch is run, so repeating a pass
gives the same bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import TypeVar

import torch
from torch import nn

from models.data.loading.batches import Batch, Loader
from models.run import Run, ThrottledProgress
from models.runtime.ordered import in_order

T = TypeVar("T")

_AT_ONCE = 1 << 25
"""Limit of images in flight, in float32 values (128 MiB); ResNet-50's activations take 25 times as much."""


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and full float32 inside the block; afterwards every module has its earlier mode again.

    By default a GPU rounds convolutions to TF32, by 1e-3: masks, features and thresholds would differ from
    those of a CPU or an exported graph.
    """
    before = [(module, module.training) for module in network.modules()]
    tf32 = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    network.eval()
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        for module, training in before:
            module.training = training


def with_progress(loader: Loader, run: Run, process: Callable[[Iterator[Batch]], Iterator[T]]) -> Iterator[T]:
    """Yield the results of `process` for the batches of `loader`, in stored order.
    Raises Stopped.

    Reports progress every 0.3 s and at the end, counting batches that are finished, not begun.
    """
    return counting(loader.epoch(None), len(loader), run, process)


def counting(
    batches: Iterator[Batch], steps: int, run: Run, process: Callable[[Iterator[Batch]], Iterator[T]]
) -> Iterator[T]:
    """The same for `batches`, of which there are `steps` at most."""
    sizes = deque[int]()
    progress = ThrottledProgress(run, steps)

    def checked() -> Iterator[Batch]:
        for batch in batches:
            run.check()
            sizes.append(len(batch.rows))
            yield batch

    for step, output in enumerate(process(checked()), 1):
        yield output
        progress.tick(step, sizes.popleft(), finished=step == steps)


def map_batches(loader: Loader, run: Run, function: Callable[[Batch], T]) -> Iterator[T]:
    """Yield `function` of each batch, side by side. Reports like `with_progress`; raises Stopped."""
    return with_progress(loader, run, lambda batches: side_by_side(batches, run.device, function))


def side_by_side(
    batches: Iterator[Batch],
    device: torch.device,
    function: Callable[[Batch], T],
    *,
    largest: int | None = None,
) -> Iterator[T]:
    """Yield `function` of each batch, in order; a CPU runs one in each of its threads at the same time.

    If the batches are too large (`_AT_ONCE`), fewer run at once and share the threads evenly: the numbers in
    the `largest`, by default the first, decide. `function` is called in worker threads: it must enter its own
    inference mode and must not change shared state.
    """
    if device.type != "cpu" or (first := next(batches, None)) is None:
        yield from map(function, batches)
        return
    batches = chain([first], batches)
    threads = torch.get_num_threads()
    each = threads_of_batch(threads, largest or first.images.numel())
    workers = threads // each
    if workers == 1:
        yield from map(function, batches)
        return
    pool = ThreadPoolExecutor(workers, "pass", _use_threads, (each,))
    _use_threads(each)  # the pool also works while the caller handles an answer
    try:
        yield from in_order(pool, (partial(function, batch) for batch in batches), ahead=workers)
    finally:
        pool.shutdown(cancel_futures=True)
        _use_threads(threads)  # torch gives new threads the number that was set last


@contextmanager
def batch_threads(device: torch.device, numbers: int) -> Iterator[None]:
    """As many threads inside the block as `side_by_side` gives one batch, whose images have so many numbers:
    for arithmetic on what came of it."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        _use_threads(threads_of_batch(threads, numbers))
    try:
        yield
    finally:
        _use_threads(threads)


def threads_of_batch(threads: int, numbers: int) -> int:
    """Of so many threads, those that work on one batch whose images have so many numbers."""
    return threads // _even_workers(threads, most=_AT_ONCE // numbers)


def _even_workers(threads: int, *, most: int) -> int:
    """The largest number of workers that divides `threads` evenly, at most `most`, at least one."""
    return max(count for count in range(1, max(1, min(threads, most)) + 1) if threads % count == 0)


def _use_threads(count: int) -> None:
    """Set how many threads torch uses for operations called from this thread."""
    torch.set_num_threads(count)
    torch.get_num_threads()  # a thread that has never asked uses what any other set last
