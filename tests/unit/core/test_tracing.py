"""Traces: off by default, refused without their packages, and one trace from a request to its job's end."""

from __future__ import annotations

import sys

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import ValidationError

from core import opentelemetry
from core.opentelemetry import OpenTelemetry, exporting
from core.settings import Settings
from core.tables import JobRow
from core.telemetry import open_tracing
from core.tracing import Tracing
from masktune.contract.vocabulary import JobKind

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> OpenTelemetry:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OpenTelemetry(provider)


def job(traceparent: str | None = TRACEPARENT) -> JobRow:
    return JobRow(id="job_1", kind=JobKind.ERM, attempt=2, traceparent=traceparent)


def spans(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_an_attempt_continues_the_trace_of_its_request(
    tracing: OpenTelemetry, exporter: InMemorySpanExporter
) -> None:
    with tracing.attempt(job()) as attempt:
        attempt.stage_started("erm")
        attempt.stage_finished("erm")
        attempt.stage_started("mask")  # and cut off
        attempt.ended("exited", failed=False)
    found = spans(exporter)
    whole, erm, mask = found["job erm"], found["stage erm"], found["stage mask"]
    assert whole.context is not None
    assert f"{whole.context.trace_id:032x}" == TRACEPARENT.split("-")[1]
    assert whole.parent is not None
    assert f"{whole.parent.span_id:016x}" == TRACEPARENT.split("-")[2]
    assert dict(whole.attributes or {}) == {
        "masktune.job.id": "job_1",
        "masktune.job.kind": "erm",
        "masktune.job.attempt": 2,
        "masktune.job.outcome": "exited",
    }
    assert {s.parent.span_id for s in (erm, mask) if s.parent} == {whole.context.span_id}
    assert (erm.status.status_code, mask.status.status_code) == (StatusCode.OK, StatusCode.UNSET)


def test_a_failed_attempt_says_so(tracing: OpenTelemetry, exporter: InMemorySpanExporter) -> None:
    with tracing.attempt(job(None)) as attempt:
        attempt.ended("lost", failed=True)
    whole = spans(exporter)["job erm"]
    assert whole.parent is None
    assert (whole.status.status_code, whole.status.description) == (StatusCode.ERROR, "lost")


def test_the_open_span_is_named_for_the_row(tracing: OpenTelemetry) -> None:
    assert tracing.traceparent() is None
    with tracing.attempt(job()):
        found = tracing.traceparent()
    assert found is not None
    assert found.split("-")[1] == TRACEPARENT.split("-")[1]
    assert len(found) == 55  # what the column holds


def test_no_trace_holds_the_query_of_a_request(
    tracing: OpenTelemetry, exporter: InMemorySpanExporter
) -> None:
    app = FastAPI()
    app.add_api_route("/predict", lambda: None)
    tracing.instrument(app)
    TestClient(app).get("/predict?subject=Anna")
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert str(span.attributes["http.url"]).endswith("/predict")
    assert "Anna" not in str(dict(span.attributes))


def test_without_the_setting_nothing_is_traced() -> None:
    tracing = open_tracing(Settings(), "masktune-api")
    assert type(tracing) is Tracing
    assert tracing.traceparent() is None
    with tracing.attempt(job()) as attempt:
        attempt.ended("exited", failed=True)


def test_without_the_packages_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ValidationError, match=r"masktune-service\[otel\]"):
        Settings(traces=True)


@pytest.mark.parametrize(("named", "name"), [(None, "masktune-api"), ("plants", "plants")])
def test_the_service_has_a_name_and_the_environment_wins(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, named: str | None, name: str
) -> None:
    monkeypatch.setattr(opentelemetry, "OTLPSpanExporter", lambda: exporter)
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    if named is not None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", named)
    tracing = exporting("masktune-api")
    with tracing.attempt(job()):
        pass
    tracing.close()
    (span,) = exporter.get_finished_spans()
    assert span.resource.attributes["service.name"] == name
