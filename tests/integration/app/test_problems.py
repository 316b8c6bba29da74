"""Whatever goes wrong is an RFC 9457 problem."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from masktune.contract.ids import new_id
from tests.integration.app.conftest import Front

JSON = {"Content-Type": "application/json"}


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert answer.status_code == body["status"] == status, body
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert body["type"] == f"/problems/{code}"
    assert body["title"]
    assert body["detail"]
    assert "Traceback" not in answer.text
    return body


def test_unknown_addresses_and_methods(shared_front: Front) -> None:
    assert problem(shared_front.client.get("/nowhere"), 404, "not-found")["instance"] == "/nowhere"
    refused = shared_front.client.delete("/livez")
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["Allow"] == "GET, HEAD"
    assert shared_front.client.put(f"/datasets/{new_id('ds')}").headers["Allow"] == "DELETE, GET, HEAD, PATCH"
    assert shared_front.client.put("/jobs/erm").headers["Allow"] == "POST"
    problem(shared_front.client.get("/datasets/"), 404, "not-found")
    problem(shared_front.client.post("/jobs/distil", json={}), 405, "method-not-allowed")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_text_of_a_request_breaks_a_database(front: Front) -> None:
    for name in ("ds_x", "%00", "ds_" + "0" * 26 + "x", "..", "%F0%9F%92%A9", new_id("ds")):
        for path in (f"/datasets/{name}", f"/jobs/{name}", f"/models/{name}", f"/jobs/{name}/events"):
            assert front.client.get(path).status_code in (404, 422), path
    for path, pointer in (
        ("/jobs?limit=0", "?limit"),
        ("/jobs?limit=101", "?limit"),
        ("/jobs?limit=x", "?limit"),
        ("/jobs?cursor=x", "?cursor"),
        ("/jobs?state=nothing", "?state"),
        ("/jobs?dataset=%00", "?dataset"),
        ("/datasets?cursor=%00", "?cursor"),
        ("/models?dataset=%00", "?dataset"),
        ("/models?job=%00", "?job"),
    ):
        body = problem(front.client.get(path), 422, "invalid-input")
        assert [error["pointer"] for error in body["errors"]] == [pointer], path
    for target in (b'{"model": "\\u0000"}', b'{"model": "\\ud800"}'):
        refused = front.client.put("/aliases/best", content=target, headers=JSON)
        body = problem(refused, 422, "invalid-input")
        assert [error["pointer"] for error in body["errors"]] == ["/model"]
    fields = {"backbone": "small_cnn", "classes": '["a", "b"]', "image_size": "28", "dataset": "\0"}
    refused = front.client.post("/models", data=fields, files={"file": ("w", b"\2" + b"\0" * 7 + b"{}")})
    assert [error["pointer"] for error in problem(refused, 422, "invalid-input")["errors"]] == ["/dataset"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"dataset": NaN}', b"[" * 50_000, b'"x"', b"null"])
def test_bodies_that_are_not_what_they_should_be(shared_front: Front, body: bytes) -> None:
    for path in ("/jobs/erm", "/datasets"):
        answer = shared_front.client.post(path, content=body, headers=JSON)
        problem(answer, 422, "invalid-input")


def test_an_unforeseen_failure_shows_nothing_of_the_inside(front: Front) -> None:
    @front.app.get("/broken")
    def broken() -> None:
        raise RuntimeError("/secret/path")

    answer = front.client.get("/broken")
    body = problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert answer.headers["X-Request-ID"] in body["detail"]


def test_a_database_that_lost_its_tables_is_no_crash(front: Front) -> None:
    """SQLite tells of a missing table as it tells of a locked or unreadable file."""
    with front.services.database.engine.begin() as connection:
        connection.execute(text("DROP TABLE events"))
        connection.execute(text("DROP TABLE jobs"))
    problem(front.client.get("/jobs"), 503, "unavailable")


def test_the_kinds_of_problem_are_explained(shared_front: Front) -> None:
    kinds = shared_front.client.get("/problems").json()["data"]
    assert {"not-found", "payload-too-large", "storage-full"} <= {kind["code"] for kind in kinds}
    for kind in kinds:
        assert shared_front.client.get(kind["type"]).json() == kind
    problem(shared_front.client.get("/problems/nothing"), 404, "not-found")
