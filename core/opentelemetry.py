"""Tracing with OpenTelemetry. Only `core.telemetry` imports it, since it needs the packages of an extra."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.tracing import Attempt, Tracing

if TYPE_CHECKING:
    from core.tables import JobRow

_TRACEPARENT = "traceparent"
_QUIET = "livez,readyz,metrics"
"""Endpoints polled every few seconds by machines, whose spans would bury all others."""


def exporting(part: str) -> OpenTelemetry:
    """Tracing that sends spans in batches, by OTLP over HTTP, to `OTEL_EXPORTER_OTLP_ENDPOINT`.

    `OTEL_SERVICE_NAME` takes precedence over `part`.
    """
    named = os.environ.get(OTEL_SERVICE_NAME) or part
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: named}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetry(provider)


class OpenTelemetry(Tracing):
    """The traces of one process, made by the given provider."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("masktune")
        self._propagator = TraceContextTextMapPropagator()

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(_TRACEPARENT)

    @contextmanager
    def attempt(self, job: JobRow) -> Iterator[Attempt]:
        """A child of the request's span, so that one trace runs from the request to the end of its job."""
        attributes = {
            "masktune.job.id": job.id,
            "masktune.job.kind": job.kind.value,
            "masktune.job.attempt": job.attempt,
        }
        with self._tracer.start_as_current_span(
            f"job {job.kind.value}", self._request(job), kind=SpanKind.CONSUMER, attributes=attributes
        ) as span:
            spans = _Spans(self._tracer, span)
            try:
                yield spans
            finally:
                spans.close()

    @contextmanager
    def shard(self, job: JobRow, title: str, number: int) -> Iterator[None]:
        """Beside the attempt's span, in the trace of the request."""
        attributes: dict[str, str | int] = {"masktune.job.id": job.id, "masktune.pass": title}
        attributes["masktune.shard"] = number
        with self._tracer.start_as_current_span("shard", self._request(job), attributes=attributes):
            yield

    def _request(self, job: JobRow) -> Context:
        """The context of the request that started the job."""
        return self._propagator.extract({_TRACEPARENT: job.traceparent} if job.traceparent else {})

    def instrument(self, app: Any) -> None:
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=self._provider,
            excluded_urls=_QUIET,
            server_request_hook=_without_query,
            exclude_spans=["receive", "send"],  # one per chunk of an upload or an event stream
        )

    def close(self) -> None:
        self._provider.shutdown()


def _without_query(span: Span, scope: Mapping[str, Any]) -> None:
    """A query may name a patient, which no trace may hold. Its attribute has a new name, and an old one."""
    attributes = getattr(span, "attributes", {})
    if "http.url" in attributes:
        span.set_attribute("http.url", attributes["http.url"].partition("?")[0])
    if "url.query" in attributes:
        span.set_attribute("url.query", "")


class _Spans(Attempt):
    """The spans of one attempt and its stages."""

    def __init__(self, tracer: trace.Tracer, span: Span) -> None:
        self._tracer, self._span = tracer, span
        self._stages: dict[str, Span] = {}

    def stage_started(self, stage: str) -> None:
        self._stages[stage] = self._tracer.start_span(f"stage {stage}", trace.set_span_in_context(self._span))

    def stage_finished(self, stage: str) -> None:
        span = self._stages.pop(stage, None)
        if span is not None:
            span.set_status(Status(StatusCode.OK))
            span.end()

    def ended(self, why: str, *, failed: bool) -> None:
        self._span.set_attribute("masktune.job.outcome", why)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR, why))

    def close(self) -> None:
        """End the spans of interrupted stages."""
        for span in self._stages.values():
            span.end()
        self._stages.clear()
