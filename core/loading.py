"""How a process loads its modules quickly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """No garbage collection inside the block, where modules are imported.

    What a module makes stays as long as the process. The collector would look through all of it again and
    again: a sixth of the time that importing torch, or the whole front, takes.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def loaded() -> None:
    """Spare the collector what is there. For a process that has just started: garbage would stay, too."""
    gc.freeze()
