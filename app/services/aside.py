"""Requests that wait for something else than an answer leave their places at the gate to others meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from app.deps import Services
from app.inference import Pair
from app.middleware.admission import Gate


@contextmanager
def aside(request: Request) -> Iterator[None]:
    """Without a place while the block runs; behind it the request is inside again, however many are.

    For a request that the gate covers, and that has come whole. The block must bound how many wait in it.
    """
    gate: Gate = request.app.state.gate
    gate.inside -= 1
    try:
        yield
    finally:
        gate.inside += 1


async def loaded(request: Request, services: Services, pair: Pair) -> None:
    """Have a pair in memory, and no image meanwhile. `Overloaded` where too many wait for loads already."""
    if not services.inference.is_loaded(pair):
        with aside(request):
            await services.inference.load(pair)
