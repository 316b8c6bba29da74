"""API keys, and the log of who changed what. All but `whoami` needs a key with the scope `admin`."""

from __future__ import annotations

from datetime import datetime

from masktune.client.calls import call, create, fetch, get, pages, segment
from masktune.client.resource import D, Listing, Operation, Resource
from masktune.client.wire import EmittingFlow, Flow, Request
from masktune.contract.base import rfc3339
from masktune.contract.keys import AuditEntry, Key, NewKey, OwnKey


def make_key(
    name: str, scopes: list[str], *, owner: str | None = None, idempotency_key: str | None = None
) -> Flow[NewKey]:
    """Create a key; `owner` answers for it. Its `secret` is in this answer only and cannot be read again."""
    body: dict[str, object] = {"name": name, "scopes": scopes}
    if owner is not None:
        body["owner"] = owner
    return call(create("/keys", json=body, key=idempotency_key), NewKey)


def list_keys(*, limit: int | None = None) -> EmittingFlow[Key]:
    """Iterate over all keys, newest first, including revoked ones. `limit` is the page size."""
    return pages(get("/keys", limit=limit), Key)


def get_key(key: str) -> Flow[Key]:
    """Get one key by its id."""
    return call(get(f"/keys/{segment(key)}"), Key)


def revoke_key(key: str) -> Flow[None]:
    """Revoke a key. The service no longer accepts it."""
    yield from fetch(Request(method="DELETE", path=f"/keys/{segment(key)}", repeatable=True))


def whoami() -> Flow[OwnKey]:
    """Get the scopes of this client's key. Any valid key may call this."""
    return call(get("/keys/self"), OwnKey)


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


class Keys(Resource[D]):
    """`client.keys`."""

    create = Operation(make_key)
    list = Listing(list_keys)
    get = Operation(get_key)
    revoke = Operation(revoke_key)
    whoami = Operation(whoami)


class Audit(Resource[D]):
    """`client.audit`."""

    list = Listing(list_audit)
