"""Whatever the document allows, the front answers as it says: no server error, no unknown status."""

from __future__ import annotations

import json
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance

from app.main import create_app
from core.settings import Settings
from tests.integration.app.conftest import LOCAL, Front
from tests.openapi import SNAPSHOT

DOCUMENT = json.loads(SNAPSHOT.read_text())
"""As test_openapi_snapshot.py holds it against the front's; to make it takes longer than all the requests."""
# An event stream of a queued job has no end; test_events.py reads real ones.
OPERATIONS = [
    (method, path)
    for path, methods in DOCUMENT["paths"].items()
    for method in methods
    if not path.endswith("/events")
]


def test_every_front_has_the_same_document(front: Front) -> None:
    served = front.client.get("/openapi.json").json()
    del served["info"]["version"]
    assert served == DOCUMENT


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_the_front_keeps_to_its_document(front: Front, method: str, path: str) -> None:
    front.app.openapi_schema = DOCUMENT | {"info": DOCUMENT["info"] | {"version": "0"}}
    document = schemathesis.openapi.from_asgi("/openapi.json", front.app, headers={"Host": "localhost"})

    @given(case=document[path][method].as_strategy())
    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=LOCAL, checks=[not_a_server_error, status_code_conformance])

    check()


@pytest.mark.parametrize(
    ("media_type", "options"),
    [
        ("application/json", {"BuiltinOptions", "FormatOptions"}),
        ("multipart/form-data", {"FormatOptions"}),
    ],
)
def test_the_document_lists_the_options_of_a_data_set(media_type: str, options: set[str]) -> None:
    document = create_app(Settings(_env_file=None)).openapi()
    body = document["paths"]["/datasets"]["post"]["requestBody"]["content"][media_type]["schema"]
    shapes = document["components"]["schemas"]
    field = shapes[body["$ref"].rpartition("/")[2]]["properties"]["options"]
    assert {one["$ref"].rpartition("/")[2] for one in field.get("anyOf", [field])} == options
    assert set(shapes["FormatOptions"]["properties"]) == {"classes", "target", "group"}
    assert "BuiltinOptions" not in options or "download" in shapes["BuiltinOptions"]["properties"]
    assert all(shapes[name]["additionalProperties"] is False for name in options)


def test_every_route_documents_what_the_connection_may_answer() -> None:
    document = create_app(Settings(_env_file=None)).openapi()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status in ("400", "408", "431"):
                answer = operation["responses"][status]
                assert list(answer["content"]) == ["application/problem+json"], f"{method} {path}"
                assert answer["description"]
                assert "model" not in answer


def headers_of(method: str, path: str, status: str) -> set[str]:
    return set(DOCUMENT["paths"][path][method]["responses"][status]["headers"])


def test_responses_declare_their_headers() -> None:
    rate = {"RateLimit", "RateLimit-Policy", "X-Request-ID"}
    assert headers_of("post", "/jobs/masktune", "202") == rate | {"ETag", "Idempotency-Replayed", "Location"}
    assert headers_of("post", "/jobs/{job_id}/cancel", "202") == rate | {"ETag"}
    assert headers_of("get", "/models/{model}", "304") == rate | {"ETag"}
    assert headers_of("post", "/predict", "200") == rate
    assert headers_of("post", "/predict", "429") == rate | {"Retry-After"}
    assert headers_of("get", "/livez", "200") == {"X-Request-ID"}


def test_operation_ids_are_the_names_of_the_routes() -> None:
    ids = [operation["operationId"] for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert {"start_masktune", "list_jobs", "get_model"} <= set(ids)
    assert all(name.isidentifier() and "__" not in name for name in ids)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part)
def test_every_json_response_has_a_named_type(method: str, path: str) -> None:
    for status, response in DOCUMENT["paths"][path][method]["responses"].items():
        for media_type, content in response.get("content", {}).items():
            if media_type.endswith("json"):
                schema = content["schema"]
                assert all("$ref" in one for one in schema.get("oneOf", [schema])), status
