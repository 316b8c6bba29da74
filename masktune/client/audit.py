"""The audit log: who changed what. Needs a key with the scope `admin`."""

from __future__ import annotations

from datetime import datetime

from masktune.client.calls import get, pages
from masktune.client.resource import D, Listing, Resource
from masktune.client.wire import EmittingFlow
from masktune.contract.audit import AuditEntry
from masktune.contract.base import rfc3339


def list_audit(
    *,
    actor: str | None = None,
    action: str | None = None,
    object: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    limit: int | None = None,
) -> EmittingFlow[AuditEntry]:
    """Iterate over changes, newest first, optionally those of an actor (a key's id), by an action
    (`delete_dataset`), of an object (an id or a name). `limit` is the page size."""
    query = get(
        "/audit",
        actor=actor,
        action=action,
        object=object,
        created_after=rfc3339(created_after) if created_after else None,
        created_before=rfc3339(created_before) if created_before else None,
        limit=limit,
    )
    return pages(query, AuditEntry)


class Audit(Resource[D]):
    """`client.audit`."""

    list = Listing(list_audit)
