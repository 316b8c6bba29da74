"""Work in a pool, its results in order. Does not import torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

T = TypeVar("T")


def in_order(pool: Executor, works: Iterator[Callable[[], T]], *, ahead: int) -> Iterator[T]:
    """Yield what `works` return, in order, as run by `pool`, which gets up to `ahead` of them in advance."""
    submitted = deque[Future[T]]()
    for work in works:
        submitted.append(pool.submit(work))
        if len(submitted) > ahead:
            yield submitted.popleft().result()
    while submitted:
        yield submitted.popleft().result()
