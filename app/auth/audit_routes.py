"""`/audit`: who changed what, for admins."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.auth import audit
from app.auth.deps import ADMIN, CallerFirst
from app.http import pagination
from app.http.deps import Reading
from app.http.etag import conditional
from app.http.filters import CreatedAfter, CreatedBefore, seconds
from app.http.pagination import DEFAULT_LIMIT, Cursor, Limit
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED
from core.queries import audit as queries
from core.queries.audit import AuditFilters
from masktune.contract.base import Page, Word
from masktune.contract.keys import AuditEntry

router = APIRouter(prefix="/audit", tags=["keys"], route_class=CallerFirst)


@router.get(
    "",
    dependencies=[ADMIN],
    response_model=Page[AuditEntry],
    summary="List who changed what, newest first",
    responses=NOT_MODIFIED | problems(422),
)
def list_audit(
    request: Request,
    session: Reading,
    actor: Annotated[Word | None, Query(description="Only changes by this actor.")] = None,
    action: Annotated[Word | None, Query(description="Only changes by this operation.")] = None,
    object: Annotated[
        Word | None, Query(description="Only changes of the object of this id or name.")
    ] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Every request that changed something has an entry for `MASKTUNE_AUDIT_DAYS`. Refused requests, dry runs
    and predictions change nothing and have none."""
    filters = AuditFilters(actor, action, object, seconds(created_after), seconds(created_before))
    rows = queries.listing(session, filters, before=pagination.decode(cursor), limit=limit + 1)
    return conditional(request, pagination.page(rows, limit, audit.describe))
