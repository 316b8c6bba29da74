"""What the OpenAPI document says; `make fuzz` holds a service against it."""

from __future__ import annotations

from difflib import unified_diff
from itertools import islice

import pytest

from tests.openapi import SNAPSHOT, document, snapshot

DOCUMENT = snapshot()
MOST_LINES = 60


def test_the_document_is_that_of_the_snapshot() -> None:
    """The contract with clients changes on purpose only."""
    kept, found = SNAPSHOT.read_text(encoding="utf-8"), document()
    if kept != found:
        lines = unified_diff(kept.splitlines(), found.splitlines(), "tests/openapi.json", "now", lineterm="")
        told = "\n".join(islice(lines, MOST_LINES))
        pytest.fail(f"if this change is meant, `make openapi` and commit it:\n{told}", pytrace=False)


def test_every_operation_documents_its_problems() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            answers = operation["responses"]
            assert "HTTPValidationError" not in str(answers), where
            for status, answer in answers.items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"], f"{where} {status}"
            # The connection refuses a head, and another site's page may ask for anything.
            assert {"400", "403", "408", "431", "503"} <= set(answers), where
            if path not in ("/livez", "/readyz", "/limits", "/metrics") and not path.startswith("/problems"):
                assert "401" in answers, where
            if "requestBody" in operation:
                assert "413" in answers, where
            creates = method == "post" and set(answers) & {"201", "202"}
            if creates and path.rpartition("/")[2] not in ("cancel", "resume", "replay", "test"):
                names = {parameter["name"] for parameter in operation["parameters"]}
                assert "Idempotency-Key" in names, where


def test_every_json_response_has_a_named_type() -> None:
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            for status, response in operation["responses"].items():
                for media_type, content in response.get("content", {}).items():
                    if media_type.endswith("json"):
                        shapes = content["schema"].get("oneOf", [content["schema"]])
                        assert all("$ref" in one for one in shapes), f"{method} {path} {status}"


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
