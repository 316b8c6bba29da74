"""`/livez`, `/readyz`, `/limits` and `/metrics`. None needs a key: the limits could be found by trying."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.http.deps import Reading, SettingsDep
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, conditional, sends
from app.inference import InferenceDep
from app.jobs.event_feed import EventFeedDep
from app.operations.health import ProbesDep
from app.operations.metrics import CONTENT_TYPE, MetricsDep
from core.errors import Unavailable
from core.queries import jobs, registry, review_queue, webhooks
from masktune.contract.operations import Alive, Limits, Ready

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


@router.get("/limits", summary="Get the size limits", response_model=Limits, responses=NOT_MODIFIED)
async def get_limits(request: Request, settings: SettingsDep) -> Response:
    """Ask before an upload, to avoid sending what would be refused."""
    return conditional(request, Limits.model_validate(settings, from_attributes=True))


@router.get(
    "/metrics",
    summary="Get the metrics in Prometheus' text format",
    response_class=Response,
    responses=sends("text/plain") | problems(503),
)
def get_metrics(
    metrics: MetricsDep, session: Reading, event_feed: EventFeedDep, inference: InferenceDep
) -> Response:
    metrics.set_jobs(jobs.counts(session), oldest_queued=jobs.oldest_queued_seconds(session))
    metrics.drifted.set(registry.count_drifted(session))
    metrics.webhook_waiting.set(webhooks.count_waiting(session))
    metrics.reviews_waiting.set(review_queue.count_waiting(session))
    metrics.broken_promises.set(registry.count_broken_promises(session))
    metrics.set_gauges(event_feed, inference)
    return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})
