"""What users may change of a resource: its name and its metadata, by a JSON merge patch (RFC 7396)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.http.caller_ids import public_id
from app.http.responses import represent, require_match
from core.errors import InvalidInput
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.contract.base import MOST_METADATA, Edit


def user_fields(row: DatasetRow | JobRow | ModelRow) -> dict[str, Any]:
    """Return the fields of `Resource`."""
    return {
        "name": row.name,
        "metadata": row.user_metadata,
        "created_by": public_id(row.created_by),
        "occupies": row.occupies,
    }


def apply_edit(
    session: Session,
    row: DatasetRow | JobRow | ModelRow,
    edit: Edit,
    *,
    if_match: str | None,
    describe: Callable[[], BaseModel],
) -> Response:
    """Change the locked row and answer with what `describe` then makes of it.

    Raises `PreconditionFailed` if it no longer has the ETag, `InvalidInput` if too many pairs are
    left.
    """
    require_match(if_match, describe, f"{row.id} has changed; read it again and retry")
    if "metadata" in edit.model_fields_set:
        merged = {} if edit.metadata is None else row.user_metadata | edit.metadata
        row.user_metadata = {key: text for key, text in merged.items() if text is not None}
        if len(row.user_metadata) > MOST_METADATA:
            raise InvalidInput.field("/metadata", "too-many", f"at most {MOST_METADATA} pairs are kept")
    if "name" in edit.model_fields_set:
        row.name = edit.name
    session.flush()
    return represent(describe())
