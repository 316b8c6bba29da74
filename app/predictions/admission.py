"""Requests that wait for something other than an engine release their slots at the gate for that time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from app.inference import Engine, Inference, Pair
from app.server.middleware.admission import Gate


@contextmanager
def without_slot(request: Request) -> Iterator[None]:
    """Release the request's slot while the block runs; afterwards take it again, however many are in use.

    For a request that the gate covers and whose body is complete. The block itself must limit how many
    requests wait in it.
    """
    gate: Gate = request.app.state.gate
    gate.in_flight -= 1
    try:
        yield
    finally:
        gate.in_flight += 1


async def load(request: Request, inference: Inference, pair: Pair) -> Engine:
    """Load a pair before its images are in memory. Raises `Overloaded` if too many already wait for loads."""
    engine = inference.cache.ready(pair)
    if engine is None:
        with without_slot(request):
            engine = await inference.cache.get(pair)
    return engine
