"""The audit log: one entry for each change that a caller made. Predictions change nothing and have none."""

from __future__ import annotations

import logging

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import Message, Scope

from app.auth.keyring import ANYONE, Caller
from app.http.caller_ids import public_id
from app.http.headers import REPLAYED
from core.session import Database
from core.tables import AuditRow
from masktune.contract.ids import new_id
from masktune.contract.keys import AuditEntry

logger = logging.getLogger(__name__)

MOST_ADDRESS = 64
"""Characters. An address has at most 45, but a proxy may report any text."""


async def record(database: Database, action: str, scope: Scope, start: Message) -> None:
    """Add an entry for the change behind the response that starts so; none for a refusal, replay or dry run.

    The change is committed by then. If the entry cannot be written, the log has it and the response is sent
    all the same: an error would have the client make the change again.
    """
    row = _entry(action, scope, start["status"], Headers(raw=start["headers"]))
    if row is None:
        return
    try:
        await run_in_threadpool(_add, database, row)
    except SQLAlchemyError:
        logger.exception(
            "the audit log lacks: %s %s by %s from %s", action, row.object, row.actor, row.address
        )


def describe(row: AuditRow) -> AuditEntry:
    """Convert the row to the shape of the API."""
    return AuditEntry(
        id=row.id,
        created_at=row.created_at,
        actor=row.actor,
        actor_name=row.actor_name,
        action=row.action,
        object=row.object,
        status=row.status,
        request_id=row.request_id,
        address=row.address,
    )


def _entry(action: str, scope: Scope, status: int, headers: Headers) -> AuditRow | None:
    changed = _object(scope, headers)
    if changed is None or not 200 <= status < 300 or REPLAYED in headers:
        return None
    caller: Caller = scope["state"]["caller"]
    return AuditRow(
        id=new_id("aud"),
        actor=caller.id if caller is ANYONE else public_id(caller.id) or "operator",
        actor_name=caller.name,
        action=action,
        object=changed,
        status=status,
        request_id=scope["state"]["request_id"],
        address=scope["client"][0][:MOST_ADDRESS] if scope.get("client") else None,
    )


def _object(scope: Scope, headers: Headers) -> str | None:
    """What the path names, else what was created. A dry run and a prediction have neither."""
    for name in scope["path_params"].values():
        return str(name)
    return headers.get("location", "").rpartition("/")[2] or None


def _add(database: Database, row: AuditRow) -> None:
    with database.begin() as session:
        session.add(row)
