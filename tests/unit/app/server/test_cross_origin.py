"""Pages of allowed origins may call the API and read all that it answers; other pages neither."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from app.inference import Admission
from app.server.cross_origin import CrossOrigin
from app.server.edge import Edge
from app.server.guard import Guard
from app.server.proxies import Proxies
from core.proxy_user import ProxyUser

LAB, EVIL = "https://lab.example", "https://evil.example"
ASKS = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
READABLE = {"access-control-allow-origin": LAB, "access-control-expose-headers": "*", "vary": "Origin"}


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["method"] != "OPTIONS", "a preflight reached the routes"
    await PlainTextResponse("done")(scope, receive, send)


@pytest.fixture
def admission() -> Admission:
    return Admission(1, 1)


@pytest.fixture
def client(admission: Admission) -> TestClient:
    edge = Edge(
        _app,
        proxies=Proxies("", ProxyUser()),
        guard=Guard(allowed="", is_open=False, origins=(LAB,)),
        admission=admission,
        limit_of=lambda scope: 10,
        cross_origin=CrossOrigin((LAB,)),
    )
    return TestClient(edge, raise_server_exceptions=False)


def _cors(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: text for name, text in headers.items() if name.startswith("access-control-") or name == "vary"
    }


def test_a_preflight_is_answered_before_a_key_and_under_overload(
    client: TestClient, admission: Admission
) -> None:
    admission.in_flight = 1
    answer = client.options("/predict", headers={"Origin": LAB, **ASKS})
    assert (answer.status_code, answer.content) == (204, b"")
    assert READABLE.items() <= _cors(answer.headers).items()
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers


def test_an_allowed_page_reads_answers_and_what_the_edge_refuses(
    client: TestClient, admission: Admission
) -> None:
    page = {"Origin": LAB}
    answers = [
        client.post("/jobs/erm", headers=page),
        client.post("/jobs/erm", headers=page, content=b"longer than the limit"),
        client.post("/jobs/erm", headers=page | {"Content-Encoding": "gzip"}, content=b"x"),
    ]
    admission.in_flight = 1
    answers.append(client.post("/predict", headers=page))
    assert [answer.status_code for answer in answers] == [200, 413, 415, 503]
    assert [_cors(answer.headers) for answer in answers] == [READABLE] * 4
    assert client.get("/jobs").headers["vary"] == "Origin"  # or a cache would give it to the page


@pytest.mark.parametrize("origin", [EVIL, "null", f"{LAB}.evil.example", f"{LAB}:8443", "http://lab.example"])
def test_no_other_page_is_answered(client: TestClient, origin: str) -> None:
    refusal = client.post("/jobs/erm", headers={"Origin": origin})
    assert refusal.status_code == 403
    assert "MASKTUNE_ALLOWED_ORIGINS" in refusal.json()["detail"]
    assert "key" not in refusal.json()["detail"].lower()
    assert _cors(refusal.headers) == {"vary": "Origin"}
    assert _cors(client.get("/jobs", headers={"Origin": origin}).headers) == {"vary": "Origin"}


def test_a_preflight_passes_the_guard_too(client: TestClient) -> None:
    head = {"Origin": LAB, **ASKS, "Content-Length": "1", "Transfer-Encoding": "chunked"}
    assert client.options("/predict", headers=head).status_code == 400
