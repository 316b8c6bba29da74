"""Opens the tracing that the settings ask for; OpenTelemetry is imported only then."""

from __future__ import annotations

from core.settings import Settings
from core.tracing import Tracing


def open_tracing(settings: Settings, part: str) -> Tracing:
    """Tracing as set in the settings. `part` is the service name in the traces: `masktune-api` …"""
    if not settings.traces:
        return Tracing()
    from core.opentelemetry import exporting

    return exporting(part)
