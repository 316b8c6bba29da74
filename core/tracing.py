"""Traces: a span for each attempt at a job and each of its stages, behind the request that started it.

Off, and nothing of OpenTelemetry is loaded, unless `MASKTUNE_TRACES=true` and the `otel` extra is
installed. Where the spans go is said by OpenTelemetry's own variables (`OTEL_EXPORTER_OTLP_ENDPOINT` …).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.settings import Settings

if TYPE_CHECKING:
    from core.tables import JobRow


@dataclass(frozen=True)
class Origin:
    """The request that a job comes from. It goes with the job's row, into logs and traces of its worker."""

    request_id: str | None = None
    traceparent: str | None = None
    """Of the request's span, in the form of W3C Trace Context."""


class Attempt:
    """The trace of one attempt at a job. This one tells nobody."""

    def stage_started(self, stage: str) -> None:
        """A span begins."""

    def stage_finished(self, stage: str) -> None:
        """Its span ends."""

    def ended(self, why: str, *, failed: bool) -> None:
        """How the attempt ended: `exited`, `cancelled`, `stopping`, `lost`, `silent`."""


class Tracing:
    """Traces of one process. This one makes none."""

    def traceparent(self) -> str | None:
        """Of the span that is open where this is called."""
        return None

    @contextmanager
    def attempt(self, job: JobRow) -> Iterator[Attempt]:
        """The span of an attempt, open while the block runs."""
        yield Attempt()

    def instrument(self, app: Any) -> None:
        """Give each request of this FastAPI application a span."""

    def close(self) -> None:
        """Send what is left."""


def open_tracing(settings: Settings, part: str) -> Tracing:
    """What the settings ask for. `part` is the name of the service in the traces: `masktune-api` …"""
    if not settings.traces:
        return Tracing()
    from core.opentelemetry import exporting

    return exporting(part)
