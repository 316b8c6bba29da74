"""One trace leads from a request to the last stage of the job that it started."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.main import create_app
from core.opentelemetry import OpenTelemetry
from core.settings import Settings
from tests.integration.app.conftest import LOCAL
from tests.integration.worker.real_jobs import make_folder
from worker.runtime import Runtime
from worker.slots import work


def test_a_request_and_its_job_are_one_trace(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    images = make_folder(tmp_path / "images", 24)
    settings = Settings(data_dir=tmp_path, threads=1, allowed_sources=f"file://{images}")
    tracing = OpenTelemetry(provider)
    with TestClient(create_app(settings, tracing), LOCAL) as client:
        client.get("/livez")
        made = client.post("/datasets", json={"name": "digits", "source": f"file://{images}"})
        assert made.status_code == 202
        with closing(Runtime.open(settings, tracing=tracing)) as runtime:
            work(runtime)
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert list(spans) == ["POST /datasets", "stage import", "job import"]  # in the order of their ends
    request, stage, job = spans.values()
    assert request.context is not None
    assert job.context is not None
    assert (job.parent and job.parent.span_id) == request.context.span_id
    assert (stage.parent and stage.parent.span_id) == job.context.span_id
    assert {span.context.trace_id for span in spans.values() if span.context} == {request.context.trace_id}
    assert (job.attributes or {})["masktune.job.outcome"] == "exited"
