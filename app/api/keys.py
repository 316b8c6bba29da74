"""`/keys`: made and revoked by an admin."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.api.answers import NOT_MODIFIED
from app.api.problems import problems
from app.deps import ADMIN, CallerFirst, KeyKey, Reading, Serving, Writing
from app.schemas.common import Page
from app.schemas.keys import Key, KeyRequest, NewKey
from app.services import keys, pagination
from app.services.idempotency import Idempotent
from app.services.pagination import Cursor, Limit
from app.services.representation import conditional
from core.queries import keys as queries

router = APIRouter(prefix="/keys", tags=["keys"], route_class=CallerFirst)


@router.post(
    "",
    dependencies=[ADMIN],
    status_code=201,
    response_model=NewKey,
    summary="Make a key",
    responses=problems(409, 422),
)
def create_key(body: KeyRequest, services: Serving, once: Idempotent) -> Response:
    """Only where the operator configured a key of their own: without one the service is open."""
    return keys.create(services, once, body)


@router.get(
    "",
    dependencies=[ADMIN],
    response_model=Page[Key],
    summary="Keys, newest first",
    responses=NOT_MODIFIED | problems(422),
)
def list_keys(request: Request, session: Reading, limit: Limit = 20, cursor: Cursor = None) -> Response:
    rows = queries.listing(session, before=pagination.decode(cursor), limit=limit + 1)
    shown, following = pagination.page(rows, limit)
    return conditional(request, Page[Key](data=[keys.describe(row) for row in shown], next_cursor=following))


@router.get(
    "/{key_id}",
    dependencies=[ADMIN],
    response_model=Key,
    summary="One key",
    responses=NOT_MODIFIED | problems(404),
)
def get_key(request: Request, key_id: KeyKey, session: Reading) -> Response:
    return conditional(request, keys.describe(queries.get(session, key_id)))


@router.delete(
    "/{key_id}", dependencies=[ADMIN], status_code=204, summary="Revoke a key", responses=problems(404)
)
def revoke_key(key_id: KeyKey, services: Serving, session: Writing) -> None:
    """It opens nothing from then on, at other replicas within 5 s. It stays in the list."""
    keys.revoke(services, session, key_id)
