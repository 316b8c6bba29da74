"""`/livez`: the process answers. `/readyz`: everything that a request needs answers. No key."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.problems import problems
from app.deps import Serving
from app.schemas.health import Alive, Ready
from app.services import health
from core.errors import Unavailable

router = APIRouter(tags=["service"])


@router.get("/livez", summary="Whether the process answers")
async def livez() -> Alive:
    return Alive()


@router.get(
    "/readyz",
    summary="Whether database, broker, storage and a real forward pass work",
    responses=problems(503),
)
async def readyz(services: Serving) -> Ready:
    """The problem of a 503 has `parts` too, and says which fail."""
    parts = await health.check(services)
    failing = [part.name for part in parts if not part.ok]
    if failing:
        raise Unavailable(
            f"not ready: {', '.join(failing)}; the parts say more",
            extra={"parts": [part.model_dump() for part in parts]},
        )
    return Ready(parts=parts)
