"""Traces: a span for each attempt at a job and each of its stages, in the trace of the request behind it.

Tracing is off, and OpenTelemetry is not imported, unless `MASKTUNE_TRACES=true`, which needs the extra
`otel`. OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT` …) say where the spans are sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.tables import JobRow


@dataclass(frozen=True)
class Origin:
    """The request that started a job, stored in the job's row for the logs and traces of its worker."""

    request_id: str | None = None
    traceparent: str | None = None
    """Trace context of the request's span (W3C Trace Context)."""


class Attempt:
    """The trace of one attempt at a job. This base class records nothing."""

    def stage_started(self, stage: str) -> None:
        """Start the span of the stage."""

    def stage_finished(self, stage: str) -> None:
        """End the span of the stage."""

    def ended(self, why: str, *, failed: bool) -> None:
        """Record how the attempt ended: `exited`, `cancelled`, `stopping`, `lost` or `silent`."""


class Tracing:
    """The traces of one process. This base class makes none."""

    def traceparent(self) -> str | None:
        """The W3C trace context of the current span; None without one."""
        return None

    @contextmanager
    def attempt(self, job: JobRow) -> Iterator[Attempt]:
        """The span of an attempt, open while the block runs."""
        yield Attempt()

    @contextmanager
    def shard(self, job: JobRow, title: str, number: int) -> Iterator[None]:
        """The span of a shard that is computed for a job of another worker, open while the block runs."""
        yield

    def instrument(self, app: Any) -> None:
        """Make a span for each request of this FastAPI application."""

    def close(self) -> None:
        """Send the remaining spans."""
