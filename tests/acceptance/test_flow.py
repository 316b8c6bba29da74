"""The main job on each way to run the service: embedded, PostgreSQL and Redis (Compose: `test_compose`)."""

from __future__ import annotations

import gzip
import io
import json
import secrets
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from PIL import Image

from masktune import Client
from tests.acceptance.flow import flow
from tests.support.brokers import redis_server
from tests.support.databases import postgres_database
from tests.support.processes import Processes, address, answers, started
from tests.support.servers import free_port
from tests.support.waits import PATIENCE

pytestmark = [pytest.mark.slow]


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


class Embedded(NamedTuple):
    """`masktune serve`: SQLite, a broker in a folder, one parent; its log and its traces are for machines."""

    url: str
    processes: Processes
    collector: Collector

    @property
    def log(self) -> list[dict[str, Any]]:
        lines = (self.processes.folder / "serve.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    folder = tmp_path_factory.mktemp("embedded")
    with pytest.MonkeyPatch.context() as patched, Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        patched.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        patched.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        with started(Processes(folder)) as processes:
            settings = {"TRACES": "true", "LOG_FORMAT": "json"}
            serve = processes.masktune("serve", "--port", "0", "--data-dir", str(folder / "var"), **settings)
            yield Embedded(address(serve), processes, collector)
            serve.terminate()
            assert serve.wait(PATIENCE) == 0
            assert processes.left() == []
        collector.shutdown()


def test_the_main_job_of_one_service(embedded: Embedded, tmp_path: Path) -> None:
    flow(embedded.url, tmp_path)


@pytest.mark.faults
def test_the_main_job_of_separate_parts(processes: Processes, tmp_path: Path) -> None:
    """The API and a worker alone, on PostgreSQL and Redis, by settings alone and behind a key."""
    (tmp_path / "redis").mkdir()
    with (
        postgres_database() as database,
        redis_server(tmp_path / "redis", "--appendonly", "yes") as (broker, _),
    ):
        port, key = free_port(), secrets.token_hex(16)
        settings = {
            "DATABASE_URL": database,
            "BROKER_URL": broker,
            "STORAGE_URL": f"file://{tmp_path}/artifacts",
            "DATA_DIR": str(tmp_path / "var"),
            "API_KEYS": f"admin:{key}",
        }
        # Started at the same moment: each of them brings the schema up to date.
        parts = [
            processes.masktune("api", "--port", str(port), **settings),
            processes.masktune("worker", **settings),
        ]
        url = f"http://127.0.0.1:{port}"
        processes.wait_until(lambda: answers(url))
        flow(url, tmp_path, key=key)
        for part in parts:
            part.terminate()
        assert [part.wait(PATIENCE) for part in parts] == [0, 0]
        assert processes.left() == []


def one_class() -> bytes:
    """An archive that can be unpacked and that no data set can be made of: the child says so in its log."""
    archive, picture = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("only/one.png", picture.getvalue())
    return archive.getvalue()


def test_a_request_is_followed_to_every_process_of_its_job_by_its_id_and_its_trace(
    embedded: Embedded,
) -> None:
    trace = secrets.token_bytes(16)
    with Client(embedded.url) as client:
        made = httpx2.post(
            f"{embedded.url}/datasets",
            files={"file": ("set.zip", one_class())},
            data={"name": "set"},
            headers={"X-Request-ID": "follow-me", "traceparent": f"00-{trace.hex()}-{'1' * 16}-01"},
            trust_env=False,
        )
        assert made.status_code == 202
        (job,) = client.jobs.list(dataset=made.json()["id"])
    of_trace: set[tuple[str, str]] = set()

    def ended() -> bool:
        of_trace.update((span.service, span.name) for span in embedded.collector.spans if span.trace == trace)
        return {"POST /datasets", "job import"} <= {name for _, name in of_trace}

    embedded.processes.wait_until(ended)
    assert of_trace == {
        ("masktune-api", "POST /datasets"),
        ("masktune-worker", "stage import"),
        ("masktune-worker", "job import"),
    }

    by_logger = {line["logger"]: line for line in embedded.log if line.get("request_id") == "follow-me"}
    access = by_logger["masktune.access"]
    assert (access["method"], access["route"], access["status"]) == ("POST", "/datasets", 202)
    assert by_logger["worker.slots"]["job_id"] == job.id
    child = by_logger["worker.child.runner"]  # another process
    assert child["job_id"] == job.id
    assert "JobError" in child["exception"]
