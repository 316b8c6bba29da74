"""The garbage collector: off while modules are imported, and seldom where requests are served."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Turn off garbage collection inside the block, which imports modules.

    The objects of a module live as long as the process, and the collector would scan them again and again: a
    sixth of the time of importing torch, or the whole front.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def loaded() -> None:
    """Exempt all present objects from collection. Only for a process that has just started: garbage stays."""
    gc.freeze()


def collect_seldom() -> None:
    """Keep the loaded objects, which are long-lived, out of full collections (90 ms), and collect seldom."""
    gc.collect()
    gc.freeze()
    # A request makes hundreds of objects that reference counting frees. Looking for cycles after every 700 of
    # them, the default, takes 5 % of the time.
    gc.set_threshold(20_000, 10, 10)
