"""Prometheus metrics, one registry per application: what is counted, and in which words.

Names keep to Prometheus' conventions: base units (seconds, bytes) as suffixes, `_total` on counters (the
library adds it), one prefix. `deploy/grafana` and `deploy/prometheus` ask for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from core.vocabulary import Counted, JobState

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
MOST_MODELS = 64
"""Models with a label of their own, the first to be served; all others share `(other)`."""
ENGINES = ("onnxruntime", "openvino", "torch")
_OTHERS = "(other)"
_OUTCOMES = (Counted.ANSWERED, Counted.BELOW_THRESHOLD, Counted.NO_CERTIFIED_THRESHOLD)


class _Series(NamedTuple):
    """Of one model, looked up once: a request must not pay for it."""

    outcomes: Mapping[Counted, Counter]
    agree: Counter
    disagree: Counter


class Metrics:
    """Add a metric of your own with `registry=metrics.registry`."""

    def __init__(self, version: str = "0.0.0") -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter(
            "masktune_requests", "Requests answered, by route template.", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "masktune_request_duration_seconds",
            "Seconds from a request's head to the end of its answer (event streams are left out).",
            ("method", "route"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.inside = 0
        """Requests being answered; for the event loop's thread. The gauge is set of it when it is read."""
        # Of several processes at one address: their sum, or what the database last told one of them.
        own = partial(Gauge, registry=self.registry, multiprocess_mode="livesum")
        told = partial(Gauge, registry=self.registry, multiprocess_mode="mostrecent")
        self._in_flight = own("masktune_requests_in_flight", "Requests being answered.")
        self.upload_bytes = Counter(
            "masktune_upload_bytes", "Bytes of archives received.", registry=self.registry
        )
        self.followers = own("masktune_event_followers", "Open event streams.")
        self.predictions = Counter(
            "masktune_predictions",
            "Images sent to a model, by what it decided; coverage is the rate of answered over that of all.",
            ("model", "outcome"),
            registry=self.registry,
        )
        self.pairs = Counter(
            "masktune_pair_predictions",
            "Images that both a model and its ERM half were asked about, by whether their labels agree.",
            ("model", "agree"),
            registry=self.registry,
        )
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._series: dict[str, _Series] = {}
        self._lock = Lock()
        self._loaded = own("masktune_models_loaded", "Pairs in memory, by what runs them.", ("engine",))
        self.waiting = own("masktune_images_waiting", "Images that wait for an engine.")
        self._jobs = told("masktune_jobs", "Jobs in each state.", ("state",))
        self._oldest = told(
            "masktune_oldest_queued_job_age_seconds",
            "How long the job that has waited longest for a worker has waited; 0 where none waits.",
        )
        told("masktune_build_info", "1, with the version.", ("version",)).labels(version).set(1)
        ProcessCollector(registry=self.registry)

    def answered(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a request and, unless it is None, how long its answer took.

        All three names come of bounded sets: what is looked up once is kept.
        """
        key = (method, route, status)
        series = self._answers.get(key)
        if series is None:
            series = self._answers[key] = (
                self.requests.labels(method, route, str(status)),
                self.seconds.labels(method, route),
            )
        series[0].inc()
        if seconds is not None:
            series[1].observe(seconds)

    def set_jobs(self, counts: Mapping[JobState, int], *, oldest_queued: float) -> None:
        """What the database says of jobs; every replica says the same. `oldest_queued`: in seconds.

        States without a job are told as 0, so that a graph has no holes.
        """
        for state in JobState:
            self._jobs.labels(state.value).set(counts.get(state, 0))
        self._oldest.set(oldest_queued)

    def set_in_flight(self) -> None:
        self._in_flight.set(self.inside)

    def set_loaded(self, counts: Mapping[str, int]) -> None:
        """All engines are told, also where they run nothing."""
        for engine in ENGINES:
            self._loaded.labels(engine).set(counts.get(engine, 0))

    def served(self, model: str, counts: Mapping[Counted, int]) -> None:
        """Count what a model was served. Series are bounded: 5 a model, for `MOST_MODELS` and the rest."""
        series = self._series.get(model) or self._new_series(model)
        for what, counter in series.outcomes.items():
            if counts.get(what):
                counter.inc(counts[what])
        pairs, apart = counts.get(Counted.PAIRS, 0), counts.get(Counted.DISAGREEMENTS, 0)
        if pairs:
            series.agree.inc(pairs - apart)
            series.disagree.inc(apart)

    def _new_series(self, model: str) -> _Series:
        with self._lock:
            name = model if len(self._series) < MOST_MODELS else _OTHERS
            series = _Series(
                {what: self.predictions.labels(name, what.value) for what in _OUTCOMES},
                self.pairs.labels(name, "true"),
                self.pairs.labels(name, "false"),
            )
            if name is model:
                self._series[model] = series
        return series

    def render(self) -> bytes:
        """Everything in Prometheus' text format; of all processes that share the address, as one."""
        folder = _shared_folder()
        if folder is None:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, str(folder))  # type: ignore[no-untyped-call]  # as it is there
        return generate_latest(together)

    def close(self) -> None:
        """What this process holds open is no more. What it counted stays counted."""
        if _shared_folder() is not None:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]


def forget_the_dead() -> None:
    """Take the gauges of processes away that were killed before they could `close`."""
    folder = _shared_folder()
    for file in [] if folder is None else folder.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _shared_folder() -> Path | None:
    """Where the processes of one address keep their values together; None for a process of its own."""
    name = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(name) if name else None
