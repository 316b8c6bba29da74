"""`/livez`: the process answers. `/readyz`: all parts that a request needs answer. Neither needs a key."""

from __future__ import annotations

from fastapi import APIRouter

from app.http.problems import problems
from app.operations.health import ProbesDep
from core.errors import Unavailable
from masktune.contract.operations import Alive, Ready

router = APIRouter(tags=["service"])


@router.get("/livez", summary="Check that the process answers")
async def get_livez() -> Alive:
    return Alive()


@router.get(
    "/readyz",
    summary="Check database, broker, storage and a real forward pass",
    responses=problems(503),
)
async def get_readyz(probes: ProbesDep) -> Ready:
    """A 503 problem has `parts` too, and says which of them fail."""
    parts = await probes.parts()
    failures = [part.name for part in parts if not part.ok]
    if failures:
        raise Unavailable(
            f"not ready: {', '.join(failures)}; see `parts` for details",
            extra={"parts": [part.model_dump() for part in parts]},
        )
    return Ready(parts=parts)
