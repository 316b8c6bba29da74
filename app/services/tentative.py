"""An artifact that stays only if the row which names it was committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.artifacts import Artifacts


@contextmanager
def tentative(artifacts: Artifacts, key: str) -> Iterator[Callable[[], None]]:
    """Yields `keep`, for `after_commit`: unless it was called, the artifact is deleted at the end."""
    kept = False

    def keep() -> None:
        nonlocal kept
        kept = True

    try:
        yield keep
    finally:
        if not kept:
            artifacts.delete(key)
