"""Requests that wait for something other than an engine give up their places at the gate for that time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from app.inference import Inference, Pair
from app.server.middleware.admission import Gate


@contextmanager
def aside(request: Request) -> Iterator[None]:
    """Give up the request's place while the block runs; afterwards take it back, however many are inside.

    For a request that the gate covers and whose body is complete. The block itself must limit how many
    requests wait in it.
    """
    gate: Gate = request.app.state.gate
    gate.in_flight -= 1
    try:
        yield
    finally:
        gate.in_flight += 1


async def loaded(request: Request, inference: Inference, pair: Pair) -> None:
    """Load a pair before its images are in memory. Raises `Overloaded` if too many already wait for loads."""
    if not inference.is_loaded(pair):
        with aside(request):
            await inference.load(pair)
