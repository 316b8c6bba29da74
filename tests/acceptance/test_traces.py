"""A request is followed into the job it started: in the log as a machine reads it, and in the traces."""

from __future__ import annotations

import gzip
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from PIL import Image

from tests.support.processes import Processes, address
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


def one_class() -> bytes:
    """An archive that can be unpacked and that no data set can be made of: the child says so in its log."""
    archive, picture = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("only/one.png", picture.getvalue())
    return archive.getvalue()


def test_a_request_is_followed_to_every_process_of_its_job_by_its_id_and_its_trace(
    processes: Processes, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    settings = {"TRACES": "true", "LOG_FORMAT": "json"}
    serve = processes.masktune("serve", "--port", "0", "--data-dir", str(tmp_path / "var"), **settings)
    with httpx.Client(base_url=address(serve), trust_env=False) as client:
        made = client.post(
            "/datasets",
            files={"file": ("set.zip", one_class())},
            data={"name": "set"},
            headers={"X-Request-ID": "follow-me"},
        )
        assert made.status_code == 202
        processes.wait_until(lambda: any(span.name == "job import" for span in collector.spans))
        (job,) = client.get("/jobs").json()["data"]
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

    lines: list[dict[str, Any]] = [
        json.loads(line) for line in (tmp_path / "serve.log").read_text().splitlines() if line.startswith("{")
    ]
    by_logger = {line["logger"]: line for line in lines if line.get("request_id") == "follow-me"}
    access = by_logger["masktune.access"]
    assert (access["method"], access["route"], access["status"]) == ("POST", "/datasets", 202)
    assert by_logger["worker.slots"]["job_id"] == job["id"]
    child = by_logger["worker.child.runner"]  # another process
    assert child["job_id"] == job["id"]
    assert "JobError" in child["exception"]
