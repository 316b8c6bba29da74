"""`/keys`: an admin creates and revokes keys; every key may ask about itself. `/audit`: who changed what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.auth import audit
from app.auth import service as keys
from app.auth.deps import ADMIN, ANY_CALLER, CallerDep, CallerFirst, KeyKey, KeyringDep
from app.auth.idempotency import Idempotent
from app.http import lists
from app.http.deps import Reading, RootPathDep, Writing
from app.http.lists import DEFAULT_LIMIT, CreatedAfter, CreatedBefore, Cursor, Limit, seconds
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, conditional
from core.queries import audit as audits
from core.queries import keys as queries
from core.queries.rows import newest_first
from core.tables import KeyRow
from masktune.contract.base import Page, Word
from masktune.contract.keys import AuditEntry, Key, KeyRequest, NewKey, OwnKey

router = APIRouter(tags=["keys"], route_class=CallerFirst)


@router.post(
    "/keys",
    dependencies=[ADMIN],
    status_code=201,
    response_model=NewKey,
    summary="Create a key",
    responses=problems(409, 422),
)
def create_key(body: KeyRequest, once: Idempotent, keyring: KeyringDep, root_path: RootPathDep) -> Response:
    """Only if the operator has configured a key (`MASKTUNE_API_KEYS`): without one the service is open."""
    return keys.create(once, body, keyring, root_path)


@router.get(
    "/keys",
    dependencies=[ADMIN],
    response_model=Page[Key],
    summary="List keys, newest first",
    responses=NOT_MODIFIED | problems(422),
)
def list_keys(
    request: Request, session: Reading, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    rows = newest_first(session, KeyRow, before=lists.decode(cursor), limit=limit + 1)
    return conditional(request, lists.page(rows, limit, keys.describe))


@router.get(
    "/keys/self",
    dependencies=[ANY_CALLER],
    response_model=OwnKey,
    summary="Get the key of this request",
    responses=NOT_MODIFIED,
)
async def get_own_key(request: Request, caller: CallerDep, keyring: KeyringDep) -> Response:
    """Any valid key may ask, whatever its scopes, and at any rate: a client learns what its key may do before
    it tries, and notices when the key is revoked. Of a person whom the proxy in front names, `id` is `user:`
    and the name."""
    return conditional(request, keys.own(keyring, caller))


@router.get(
    "/keys/{key_id}",
    dependencies=[ADMIN],
    response_model=Key,
    summary="Get a key",
    responses=NOT_MODIFIED | problems(404),
)
def get_key(request: Request, key_id: KeyKey, session: Reading) -> Response:
    return conditional(request, keys.describe(queries.get(session, key_id)))


@router.delete(
    "/keys/{key_id}", dependencies=[ADMIN], status_code=204, summary="Revoke a key", responses=problems(404)
)
def revoke_key(key_id: KeyKey, keyring: KeyringDep, session: Writing) -> None:
    """The key opens nothing from then on; other replicas follow within 5 s. It stays in the list."""
    keys.revoke(session, keyring, key_id)


@router.get(
    "/audit",
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
    """Every request that changed something has an entry for `MASKTUNE_AUDIT_DAYS`.
    Refused requests, dry runs and predictions change nothing and have none."""
    filters = audits.AuditFilters(actor, action, object, seconds(created_after), seconds(created_before))
    rows = audits.listing(session, filters, before=lists.decode(cursor), limit=limit + 1)
    return conditional(request, lists.page(rows, limit, audit.describe))
