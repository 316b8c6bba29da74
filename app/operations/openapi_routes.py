"""The parts of `/openapi.json` that routes do not declare: descriptions, and responses of any route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.http.problems import problems
from app.http.responses import KEY_SCHEMES
from masktune.contract.base import Json, whole
from masktune.contract.datasets import DatasetUpload, SourceRequest
from masktune.contract.models import ModelUpload
from masktune.contract.serving.predictions import ImageUpload

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
    {"name": "reviews", "description": "Images that models were sent, and what people say of them."},
    {"name": "keys", "description": "Who may call, and for what."},
    {"name": "webhooks", "description": "Who is told of events."},
    {"name": "service", "description": "The service itself: health, metrics, kinds of problems, presets."},
]

_SECURED = (401, 403, 429)
_BODY = (413, 415)
_ANY = (403, 503)
"""Routes that need no key may also refuse pages of other sites (`app.server.guard`)."""

_CONNECTION = (400, 408, 431)
"""`app.server` sends these before any route runs, and hangs up. A connection that carries no HTTP at all gets
a line of text from uvicorn."""
_FORMS = (DatasetUpload, ImageUpload, ModelUpload, SourceRequest)
"""Bodies that routes read themselves: FastAPI does not know them."""
_REFERENCE = "#/components/schemas/{model}"
_HEADERS = {
    "ETag": "Strong validator of the representation, for If-None-Match and If-Match.",
    "Idempotency-Replayed": "`true` if this is the answer to an earlier request with the Idempotency-Key.",
    "Location": "Where the resource is.",
    "RateLimit": "What is left of the key's rate, as in draft-ietf-httpapi-ratelimit-headers.",
    "RateLimit-Policy": "The key's rate. Both are sent only where the operator has set one.",
    "Retry-After": "Seconds to wait before the request is sent again.",
    "X-Request-ID": "The request's own id if it has a harmless one, else a new one; it is in the log.",
}


def service_version() -> str:
    """Return the installed version, or 0.0.0 for a source tree that is not installed."""
    try:
        return version("masktune-service")
    except PackageNotFoundError:
        return "0.0.0"


def install(app: FastAPI, root_path: str) -> None:
    """Make the application complete its document when it is first requested."""

    def document() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app, root_path)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI documents it


def _complete(app: FastAPI, root_path: str) -> Json:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=app.openapi_tags,
        routes=app.routes,
        servers=[{"url": root_path}] if root_path else None,
    )
    _, forms = models_json_schema([(form, "validation") for form in _FORMS], ref_template=_REFERENCE)
    components = document["components"]
    for form in (DatasetUpload, ImageUpload, ModelUpload):
        fields = forms["$defs"][form.__name__]["properties"]
        fields.update({name: _without_null(schema) for name, schema in fields.items()})
    components["schemas"] = forms["$defs"] | components["schemas"]
    components["securitySchemes"] = KEY_SCHEMES
    components["headers"] = {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in _HEADERS.items()
    }
    for path in document["paths"].values():
        for method, operation in path.items():
            _complete_operation(method, operation)
    # FastAPI makes every bound a float: 2^63 would become 9.223372036854776e+18, which is more.
    exact: Json = json.loads(json.dumps(document), parse_float=lambda text: whole(float(text)))
    return exact


def _without_null(schema: Json) -> Json:
    """The schema of an optional parameter or field of a form: it can be left out, but there is no null."""
    match schema:
        case {"anyOf": [dict(one), {"type": "null"}], **rest}:
            return {**rest, **one}
    return schema


def _complete_operation(method: str, operation: dict[str, Any]) -> None:
    """Add what routes do not declare: the problems of connection, keys, body limits, other sites and the
    database, and the headers."""
    statuses = [
        *(_SECURED if operation.get("security") else ()),
        *(_BODY if "requestBody" in operation else ()),
        *_ANY,
        *_CONNECTION,
    ]
    for status, response in problems(*statuses).items():
        del response["model"]
        operation["responses"].setdefault(str(status), response)
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    for status, response in operation["responses"].items():
        if status >= "4":
            # FastAPI adds application/json to what a route declares, but problems have one media type.
            response["content"].pop("application/json", None)
        names = _header_names(method, operation, status)
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _header_names(method: str, operation: dict[str, Any], status: str) -> Iterator[str]:
    """Yield the headers of one response. `app.http` sets those of a representation."""
    if int(status) in _CONNECTION:
        return
    yield "X-Request-ID"
    if operation.get("security") and (status < "4" or status == "429"):
        yield from ("RateLimit", "RateLimit-Policy")
    if status in ("429", "503"):
        yield "Retry-After"
    if "304" in operation["responses"] and status in ("200", "304"):
        yield "ETag"
    if method in ("post", "put", "patch") and operation["tags"] != ["predict"] and status < "4":
        created_once = any(header["name"] == "Idempotency-Key" for header in operation.get("parameters", ()))
        yield "ETag"
        if method == "put" or (created_once and status != "200"):
            yield "Location"
        if created_once:
            yield "Idempotency-Replayed"
