"""OpenAPI declarations of what routes take and send by hand: forms, files, media types."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Responses = dict[int | str, dict[str, Any]]

NOT_MODIFIED: Responses = {304: {"description": "The client's copy is current (If-None-Match)."}}
BINARY = {"type": "string", "format": "binary"}
_TEXTUAL = {"text/plain", "text/csv", "text/html", "text/event-stream"}

KEY_SCHEMES = {
    "HTTPBearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The key, in the `Authorization` header.",
    },
    "APIKeyHeader": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The key, in its own header.",
    },
}
"""The two ways to send a key."""
NEEDS_KEY: dict[str, Any] = {"security": [{name: []} for name in KEY_SCHEMES]}
"""The `openapi_extra` of a route that needs a key, sent in either way (`app.auth.deps.CallerFirst`)."""


def sends(*media_types: str, description: str = "The content.") -> Responses:
    """Return the `responses` of a route whose 200 may have one of these media types."""
    content = {kind: {"schema": {"type": "string"} if kind in _TEXTUAL else BINARY} for kind in media_types}
    return {200: {"description": description, "content": content}}


def body_of(description: str, **content: Any) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that reads its body itself: the `content` by media type."""
    return {"requestBody": {"required": True, "description": description, "content": content}}


def query_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the `openapi_extra` of a route that reads its query by `app.http.validation.parse_query`."""
    schema = model.model_json_schema()
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": name in schema["required"],
            "schema": {key: field[key] for key in field if field[key] is not None},
            "description": field["description"],
        }
        for name, field in schema["properties"].items()
    ]
    return {"parameters": parameters}


def shape_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a media type's content, of this shape; `app.operations.openapi_routes` puts them into
    the document."""
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
