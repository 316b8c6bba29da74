"""Prometheus metrics, one registry per application: what is counted, and in which words."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from core.vocabulary import JobState

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """Add a metric of your own with `registry=metrics.registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter(
            "masktune_requests", "Requests answered, by route template.", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "masktune_request_seconds",
            "Seconds from a request's head to the end of its answer (event streams are left out).",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "masktune_requests_in_flight", "Requests being answered.", registry=self.registry
        )
        self.upload_bytes = Counter(
            "masktune_upload_bytes", "Bytes of archives received.", registry=self.registry
        )
        self.followers = Gauge("masktune_event_followers", "Open event streams.", registry=self.registry)
        self._jobs = Gauge("masktune_jobs", "Jobs in each state.", ("state",), registry=self.registry)

    def set_jobs(self, counts: dict[JobState, int]) -> None:
        """States without a job are told as 0, so that a graph has no holes."""
        for state in JobState:
            self._jobs.labels(state.value).set(counts.get(state, 0))

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
