"""`/metrics`, scraped by Prometheus. Needs no key."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.http.deps import Reading
from app.http.problems import problems
from app.http.responses import sends
from app.inference import InferenceDep
from app.jobs.event_feed import EventFeedDep
from app.operations.metrics import CONTENT_TYPE, MetricsDep
from core.queries import jobs, registry

router = APIRouter(tags=["service"])


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
    metrics.set_drifted(registry.count_drifted(session))
    metrics.set_gauges(event_feed, inference)
    return Response(metrics.render(), headers={"Content-Type": CONTENT_TYPE})
