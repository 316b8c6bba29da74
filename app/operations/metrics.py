"""Prometheus metrics, in one registry per application.

Names follow Prometheus' conventions: base units (seconds, bytes) as suffixes, `_total` on counters (the
library adds it), one prefix. `deploy/grafana` and `deploy/prometheus` query them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from threading import Lock
from typing import Annotated

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.http.deps import opened
from app.inference import Inference
from app.jobs.event_feed import EventFeed
from masktune.contract.vocabulary import AbstainReason, JobState, UsageKind

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
MOST_MODELS = 64
"""Number of models with their own label, the first to be served; all others share `(other)`."""
GAUGES_SECONDS = 5.0
"""Between two settings of the gauges. If several processes share an address, only one answers a scrape, and
sets its own anew; the others report the values they last set."""
ENGINES = ("onnxruntime", "torch")
_OTHERS = "(other)"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""All other methods share a label, so that clients cannot inflate the metrics."""
_OUTCOMES = (UsageKind.ANSWERED, *(UsageKind(reason) for reason in AbstainReason))


class Metrics:
    """The metrics of an application. Register further ones with `registry=metrics.registry`."""

    def __init__(self, version: str = "0.0.0") -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter(
            "masktune_requests", "Requests answered, by route template.", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "masktune_request_duration_seconds",
            "Seconds from a request's head to the end of its answer, without event streams.",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        # To look a metric up by its labels costs more than to count.
        self._requests_of, self._seconds_of = cache(self.requests.labels), cache(self.seconds.labels)
        self.inside = 0
        """Requests in flight, counted in the event loop's thread; copied to the gauge on refresh."""
        # For several processes at one address: the sum, or the value last read from the database by any.
        own = partial(Gauge, registry=self.registry, multiprocess_mode="livesum")
        shared = partial(Gauge, registry=self.registry, multiprocess_mode="mostrecent")
        self._in_flight = own("masktune_requests_in_flight", "Requests being answered.")
        self.upload_bytes = Counter(
            "masktune_upload_bytes", "Bytes of archives received.", registry=self.registry
        )
        self.followers = own("masktune_event_followers", "Open event streams.")
        self.predictions = Counter(
            "masktune_predictions",
            "Images sent to a model, by decision; coverage is the rate of answered over that of all.",
            ("model", "outcome"),
            registry=self.registry,
        )
        self.pairs = Counter(
            "masktune_pair_predictions",
            "Images that both a model and its ERM half predicted, by whether their labels agree; one of "
            "each subject that requests name, since the calibration.",
            ("model", "agree"),
            registry=self.registry,
        )
        self._models: dict[str, list[Counter]] = {}
        """Of each model with its own label: the counters of `_OUTCOMES`, of pairs that agree, of those that
        do not."""
        self._lock = Lock()
        self.loaded = own("masktune_models_loaded", "Pairs in memory, by engine.", ("engine",))
        self.waiting = own(
            "masktune_images_waiting", "Images waiting for an engine, those being decoded included."
        )
        self._jobs = shared("masktune_jobs", "Jobs in each state.", ("state",))
        self._oldest = shared(
            "masktune_oldest_queued_job_age_seconds",
            "How long the oldest job in the queue has waited for a worker; 0 if none waits.",
        )
        self.drifted = shared(
            "masktune_models_drifted",
            "Models whose inputs drifted, until somebody acknowledges it or the model is calibrated anew.",
        )
        self.webhook_attempts = Counter(
            "masktune_webhook_attempts",
            "Attempts to send a message to a webhook: `delivered`, `failed` (tried again), `given_up`.",
            ("outcome",),
            registry=self.registry,
        )
        self.webhook_waiting = shared("masktune_webhook_messages_waiting", "Messages to webhooks that wait.")
        self.reviews_lost = Counter(
            "masktune_reviews_lost", "Drawn images that found no room.", registry=self.registry
        )
        self.reviews_waiting = shared(
            "masktune_reviews_waiting", "Images of review queues that wait for an answer."
        )
        self.broken_promises = shared(
            "masktune_promises_broken", "Models whose audit sample shows that a promised risk is exceeded."
        )
        shared("masktune_build_info", "1, labelled with the version.", ("version",)).labels(version).set(1)
        ProcessCollector(registry=self.registry)

    def answered(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a request and, unless `seconds` is None, record how long it took."""
        if method not in _METHODS:
            method = _OTHERS
        self._requests_of(method, route, str(status)).inc()
        if seconds is not None:
            self._seconds_of(method, route).observe(seconds)

    def set_jobs(self, counts: Mapping[JobState, int], *, oldest_queued: float) -> None:
        """Set the job counts of the database, the same on every replica.
        `oldest_queued` is in seconds.

        States without jobs are reported as 0, so that graphs have no gaps.
        """
        for state in JobState:
            self._jobs.labels(state.value).set(counts.get(state, 0))
        self._oldest.set(oldest_queued)

    def set_gauges(self, event_feed: EventFeed, inference: Inference) -> None:
        """Set the gauges of this process."""
        self._in_flight.set(self.inside)
        self.followers.set(len(event_feed))
        self.waiting.set(inference.waiting)
        loaded = inference.loaded
        for engine in ENGINES:  # also those that run nothing
            self.loaded.labels(engine).set(loaded.get(engine, 0))

    def served(self, model: str, counts: Mapping[UsageKind, int]) -> None:
        """Count what a model was served: 5 series per model, for `MOST_MODELS` models and the rest."""
        counters = self._models.get(model) or self._counters_of(model)
        pairs, apart = counts.get(UsageKind.PAIRS, 0), counts.get(UsageKind.DISAGREEMENTS, 0)
        numbers = (*(counts.get(outcome, 0) for outcome in _OUTCOMES), pairs - apart, apart)
        for counter, number in zip(counters, numbers, strict=True):
            counter.inc(number)

    def _counters_of(self, model: str) -> list[Counter]:
        with self._lock:
            name = model if len(self._models) < MOST_MODELS else _OTHERS
            outcomes = [self.predictions.labels(name, outcome.value) for outcome in _OUTCOMES]
            counters = [*outcomes, self.pairs.labels(name, "true"), self.pairs.labels(name, "false")]
            if name == model:
                self._models[model] = counters
            return counters

    def render(self) -> bytes:
        """Render all metrics in Prometheus' text format, aggregated over processes that share the address."""
        folder = _shared_folder()
        if folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, str(folder))  # type: ignore[no-untyped-call]  # untyped upstream
        return generate_latest(together)

    def close(self) -> None:
        """Drop this process's gauges; its counters remain."""
        if _shared_folder() is not None:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def forget_the_dead() -> None:
    """Drop the gauges of processes that were killed before `close`."""
    folder = _shared_folder()
    for file in [] if folder is None else folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _shared_folder() -> Path | None:
    """Return the folder where processes at one address share their values; None for a single process."""
    name = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(name) if name else None


MetricsDep = Annotated[Metrics, opened("metrics")]
