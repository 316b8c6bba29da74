"""One pass over a loader with frozen weights: evaluation mode, progress, a way to stop, and every core.

Between two operations the cores of a CPU wait for each other, and on some machines that takes longer than
the work. So a pass gives each core a batch of its own: up to 1.4 times as fast on two (`benchmarks.masking`).
Then the arithmetic is that of one thread, on however many cores; several at one batch round otherwise, by
5e-5 in ResNet-50's scores. No clock decides which way a batch goes, so a pass repeated has the same bits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import torch

from models.run import Progress, Run

if TYPE_CHECKING:
    from torch import nn

    from models.data.batches import Batch, Loader

T = TypeVar("T")

_REPORT_SECONDS = 0.3
_AT_ONCE = 1 << 25
"""Numbers of all images under way, 128 MiB; in ResNet-50 the activations take twenty-five times as much."""


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, in float32; after it every module has the mode that it had before.

    A card rounds the products of convolutions to TF32 by default, by 1e-3: masks, features and thresholds
    would not be those of a CPU, nor of an exported graph.
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


def watched(loader: Loader, run: Run, answering: Callable[[Iterator[Batch]], Iterator[T]]) -> Iterator[T]:
    """What `answering` makes of the batches of `loader`, in stored order. Raises Stopped.

    Reports every 0.3 s and at the end what has been answered, not what has been begun.
    """
    start = reported = time.perf_counter()
    steps, images = len(loader), 0
    begun = deque[int]()

    def batches() -> Iterator[Batch]:
        for batch in loader.epoch(None):
            run.check()
            begun.append(len(batch.rows))
            yield batch

    for step, found in enumerate(answering(batches()), 1):
        yield found
        images += begun.popleft()
        now = time.perf_counter()
        if now - reported >= _REPORT_SECONDS or step == steps:
            reported = now
            run.on_progress(Progress(step // steps, 1, step, steps, images / max(now - start, 1e-9)))


def answers(loader: Loader, run: Run, answer: Callable[[Batch], T]) -> Iterator[T]:
    """`answer` of each batch of `loader`, side by side. Reports as `watched` does; raises Stopped."""
    return watched(loader, run, lambda batches: side_by_side(batches, run.device, answer))


def side_by_side(batches: Iterator[Batch], device: torch.device, answer: Callable[[Batch], T]) -> Iterator[T]:
    """`answer` of each batch, in order; on a CPU as many at once as there are threads, with one thread each.

    Of batches so large that not all would fit (`_AT_ONCE`), fewer, which share the threads out evenly. They
    are answered in threads: `answer` enters its own inference mode, and changes nothing that others use.
    """
    if device.type != "cpu" or (first := next(batches, None)) is None:
        yield from map(answer, batches)
        return
    batches = chain([first], batches)
    threads = torch.get_num_threads()
    workers = _sharing(threads, most=_AT_ONCE // first.images.numel())
    if workers == 1:
        yield from map(answer, batches)
        return
    each = threads // workers
    pool = ThreadPoolExecutor(workers, "pass", _use_threads, (each,))
    _use_threads(each)  # between two answers, too, other threads are at work
    try:
        yield from in_order(pool, (partial(answer, batch) for batch in batches), ahead=workers)
    finally:
        pool.shutdown(cancel_futures=True)
        _use_threads(threads)  # torch remembers the last number it was given, for threads to come


def _sharing(threads: int, *, most: int) -> int:
    """As many workers as can share `threads` evenly, at most `most`, at least one."""
    return max(count for count in range(1, max(1, min(threads, most)) + 1) if threads % count == 0)


def in_order(pool: Executor, works: Iterator[Callable[[], T]], *, ahead: int) -> Iterator[T]:
    """What `works` return, in their order, as `pool` does them; `ahead` of them are begun beforehand."""
    begun = deque[Future[T]]()
    for work in works:
        begun.append(pool.submit(work))
        if len(begun) > ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _use_threads(count: int) -> None:
    """How many threads torch uses for the operations of this one."""
    torch.set_num_threads(count)
    torch.get_num_threads()  # a thread that has not asked yet takes what any other set last
