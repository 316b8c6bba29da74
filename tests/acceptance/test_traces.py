"""The traces of a whole service, as a collector receives them."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.acceptance.conftest import Processes, address
from tests.support.waits import PATIENCE

pytestmark = pytest.mark.slow


class Received(NamedTuple):
    """A span."""

    service: str
    name: str
    trace: bytes


class Collector(ThreadingHTTPServer):
    """Receives OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[Received] = []


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = (a for a in of_process.resource.attributes if a.key == "service.name")
            for scope in of_process.scope_spans:
                for span in scope.spans:
                    self.server.spans.append(Received(service.value.string_value, span.name, span.trace_id))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_api_and_worker_send_one_trace(
    processes: Processes, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    serve = processes.masktune("serve", "--port", "0", "--data-dir", str(tmp_path / "var"), TRACES="true")
    with httpx.Client(base_url=address(serve), trust_env=False) as client:
        made = client.post("/datasets", json={"name": "digits", "source": "builtin:digits"})
        assert made.status_code == 202

        def job_is_told() -> bool:
            return any(span.name == "job import" for span in collector.spans)

        processes.wait_until(job_is_told)
    serve.terminate()
    assert serve.wait(PATIENCE) == 0
    (request,) = (span for span in collector.spans if span.name == "POST /datasets")
    assert request.service == "masktune-api"
    of_trace = {(span.service, span.name) for span in collector.spans if span.trace == request.trace}
    assert of_trace == {
        ("masktune-api", "POST /datasets"),
        ("masktune-worker", "stage import"),
        ("masktune-worker", "job import"),
    }
