"""Encoded images in memory: so many bytes of them at a time, whichever requests they are of."""

from __future__ import annotations

from types import TracebackType

from core.errors import busy

_RETRY_SECONDS = 1


class ImageMemory:
    """Counts what requests hold (`share`), in bytes. For the event loop's own thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def share(self) -> Share:
        """What one request holds, while the block runs."""
        return Share(self)


class Share:
    """One request's part of the memory; given back when the block ends."""

    __slots__ = ("_held", "_memory")

    def __init__(self, memory: ImageMemory) -> None:
        self._memory = memory
        self._held = 0

    def take(self, count: int) -> None:
        """So many bytes more, or `Overloaded` where others hold too many. Who is alone gets any number."""
        memory = self._memory
        if memory.held > self._held and memory.held + count > memory.most:
            raise busy("the images of other requests take the memory now", seconds=_RETRY_SECONDS)
        memory.held += count
        self._held += count

    def __enter__(self) -> Share:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._memory.held -= self._held
        self._held = 0
