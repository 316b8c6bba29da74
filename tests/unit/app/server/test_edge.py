"""Request ids, the access log and the metrics."""

import logging

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.operations.metrics import Metrics
from tests.unit.app.server.edges import api_edge


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(metrics: Metrics) -> TestClient:
    app = FastAPI()

    @app.get("/things/{name}")
    async def get_thing(name: str) -> str:
        return name

    return TestClient(api_edge(app, metrics=metrics))


def test_a_harmless_id_is_kept_and_any_other_replaced(client: TestClient) -> None:
    assert client.get("/things/a", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    assert client.get("/things/a", headers={"X-Request-ID": "a b"}).headers["X-Request-ID"] != "a b"
    assert client.get("/things/a", headers={"X-Request-ID": "x" * 65}).headers["X-Request-ID"] != "x" * 65


def test_requests_are_counted_by_template(client: TestClient, metrics: Metrics) -> None:
    for name in ("a", "b"):
        client.get(f"/things/{name}")
    client.get("/nowhere/else")
    client.request("BREW", "/things/a")
    told = metrics.render().decode()
    assert 'masktune_requests_total{method="GET",route="/things/{name}",status="200"} 2.0' in told
    assert 'masktune_requests_total{method="GET",route="(none)",status="404"} 1.0' in told
    assert 'method="(other)"' in told
    assert "nowhere" not in told
    assert "masktune_requests_in_flight 0.0" in told


def test_a_path_cannot_forge_a_line_of_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="masktune.access"):
        client.get("/things/a%0AGET%20/forged")
    (record,) = [r for r in caplog.records if r.name == "masktune.access"]
    assert "\n" not in record.getMessage()
