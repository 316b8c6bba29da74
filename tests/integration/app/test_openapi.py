"""What the OpenAPI document says; `make fuzz` holds a service against it."""

from __future__ import annotations

import pytest

from masktune.contract.datasets import FormatOptions
from tests.integration.app.conftest import Front
from tests.openapi import snapshot

DOCUMENT = snapshot()
"""As test_openapi_snapshot.py holds it against the front's; to make it takes longer than all the requests."""
OPERATIONS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]


def test_every_front_has_the_same_document(front: Front) -> None:
    served = front.client.get("/openapi.json").json()
    del served["info"]["version"]
    assert served == DOCUMENT


@pytest.mark.parametrize(
    ("media_type", "options"),
    [
        ("application/json", {"BuiltinOptions", "FormatOptions"}),
        ("multipart/form-data", {"FormatOptions"}),
    ],
)
def test_the_document_lists_the_options_of_a_data_set(media_type: str, options: set[str]) -> None:
    body = DOCUMENT["paths"]["/datasets"]["post"]["requestBody"]["content"][media_type]["schema"]
    shapes = DOCUMENT["components"]["schemas"]
    field = shapes[body["$ref"].rpartition("/")[2]]["properties"]["options"]
    assert {one["$ref"].rpartition("/")[2] for one in field.get("anyOf", [field])} == options
    assert set(shapes["FormatOptions"]["properties"]) == set(FormatOptions.model_fields)
    assert "BuiltinOptions" not in options or "download" in shapes["BuiltinOptions"]["properties"]
    assert all(shapes[name]["additionalProperties"] is False for name in options)


def test_every_route_documents_what_the_connection_may_answer() -> None:
    for path, methods in DOCUMENT["paths"].items():
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


def test_no_parameter_and_no_field_of_a_form_is_null() -> None:
    parameters = [
        parameter["schema"]
        for path in DOCUMENT["paths"].values()
        for operation in path.values()
        for parameter in operation.get("parameters", ())
    ]
    shapes = DOCUMENT["components"]["schemas"]
    fields = [
        field for form in ("DatasetUpload", "ModelUpload") for field in shapes[form]["properties"].values()
    ]
    assert all({"type": "null"} not in schema.get("anyOf", ()) for schema in (*parameters, *fields))


def test_the_bounds_of_integers_are_integers() -> None:
    shapes = DOCUMENT["components"]["schemas"]
    seed, _ = shapes["ErmRequest"]["properties"]["seed"]["anyOf"]
    assert seed == {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**63}
