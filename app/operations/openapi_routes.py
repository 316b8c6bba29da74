"""The parts of `/openapi.json` that routes do not declare: descriptions, and responses of any route."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.operations.problems_routes import problem_response, problems
from masktune.contract.problems import Problem

DESCRIPTION = """\
Train image classifiers past the shortcuts they found, measure whether that helped, and serve them with
saliency maps and a reject option.

Upload a data set (`POST /datasets`), start a `masktune` job (`POST /jobs/masktune`), follow it
(`GET /jobs/{id}/events`), read its report (`GET /jobs/{id}/report`), and predict (`POST /predict`).
Errors are RFC 9457 problems; `GET /problems` explains each kind.
"""
TAGS = [
    {"name": "datasets", "description": "Labelled images, checked and packed."},
    {"name": "jobs", "description": "Work on the device: durable, cancellable, resumable."},
    {"name": "models", "description": "Trained and imported networks, and aliases that point to them."},
    {"name": "predict", "description": "Labels, scores, decisions and saliency maps."},
    {"name": "keys", "description": "Who may call, and for what."},
    {"name": "service", "description": "The service itself: health, metrics, kinds of problems, presets."},
]

_SECURED = (401, 403, 429)
_BODY = (413, 415)
_ANY = (403, 503)
"""Routes that need no key may also refuse pages of other sites (`SameOrigin`)."""

_CONNECTION = {
    400: "The connection does not carry a well-formed HTTP request",
    408: "The request arrives too slowly",
    431: "The head of the request is too large",
}
"""`app.server` sends these before any route runs, and hangs up; `type` is about:blank. A connection that
carries no HTTP at all gets a line of text from uvicorn."""


def service_version() -> str:
    """Return the installed version, or 0.0.0 for a source tree that is not installed."""
    try:
        return version("masktune-service")
    except PackageNotFoundError:
        return "0.0.0"


def install(app: FastAPI, root_path: str) -> None:
    """Make the application complete its document when it is first requested."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app, root_path)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI documents it


def _complete(app: FastAPI, root_path: str) -> dict[str, Any]:
    schema = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
        servers=[{"url": root_path}] if root_path else None,
    )
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    components.setdefault("Problem", Problem.model_json_schema(ref_template="#/components/schemas/{model}"))
    for path in schema["paths"].values():
        for operation in path.values():
            _complete_operation(operation)
    hoisted = _hoist(schema["paths"])
    components |= {name: shape for name, shape in hoisted.items() if name not in components}
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    return schema


def _complete_operation(operation: dict[str, Any]) -> None:
    """Add responses that routes do not declare: connection, keys, body limits, other sites, no database."""
    statuses = [
        *(_SECURED if operation.get("security") else ()),
        *(_BODY if "requestBody" in operation else ()),
        *_ANY,
    ]
    answers = problems(*statuses) | {status: problem_response(told) for status, told in _CONNECTION.items()}
    for status, answer in answers.items():
        operation["responses"].setdefault(str(status), _document(answer))
    for status, answer in operation["responses"].items():
        if status >= "4":
            # FastAPI adds application/json to what a route declares, but problems have one media type.
            answer.get("content", {}).pop("application/json", None)


def _hoist(node: Any) -> dict[str, Any]:
    """Remove and return the `$defs` of schemas that routes declare by hand; redirect `$ref` to components."""
    found: dict[str, Any] = {}
    if isinstance(node, dict):
        found |= node.pop("$defs", {})
        if str(node.get("$ref", "")).startswith("#/$defs/"):
            node["$ref"] = node["$ref"].replace("#/$defs/", "#/components/schemas/")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        found |= _hoist(child)
    for shape in list(found.values()):
        found |= _hoist(shape)
    return found


def _document(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "model"}
