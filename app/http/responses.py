"""OpenAPI declarations of routes' responses other than problems."""

from __future__ import annotations

from typing import Any

Responses = dict[int | str, dict[str, Any]]

NOT_MODIFIED: Responses = {304: {"description": "The client's copy is current (If-None-Match)."}}
_TEXTUAL = {"text/plain", "text/csv", "text/event-stream"}


def sends(*media_types: str) -> Responses:
    """Return the `responses` of a route whose 200 has one of these media types instead of a model's JSON."""
    return {
        200: {
            "description": "The content.",
            "content": {kind: {"schema": _schema(kind)} for kind in media_types},
        }
    }


def _schema(media_type: str) -> dict[str, Any]:
    if media_type == "application/json":
        return {"type": "object"}
    return {"type": "string"} if media_type in _TEXTUAL else {"type": "string", "format": "binary"}
