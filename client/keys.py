"""Keys of the service: made, listed, revoked. With a key of the scope `admin`."""

from __future__ import annotations

from client.calls import call, create, fetch, get, pages, segment
from client.resource import D, Listing, Operation, Resource
from client.shapes import Key, NewKey
from client.wire import EmittingFlow, Flow, Request


def make_key(name: str, scopes: list[str], *, idempotency_key: str | None = None) -> Flow[NewKey]:
    """Make a key. Its `secret` comes with this answer and never again."""
    return call(create("/keys", json={"name": name, "scopes": scopes}, key=idempotency_key), NewKey)


def list_keys(*, limit: int | None = None) -> EmittingFlow[Key]:
    """Every key, newest first, the revoked ones too. `limit`: the size of a page."""
    return pages(get("/keys", limit=limit), Key)


def get_key(key: str) -> Flow[Key]:
    """One key, by id."""
    return call(get(f"/keys/{segment(key)}"), Key)


def revoke_key(key: str) -> Flow[None]:
    """From now on it opens nothing."""
    yield from fetch(Request(method="DELETE", path=f"/keys/{segment(key)}", repeatable=True))


class Keys(Resource[D]):
    """`client.keys`."""

    create = Operation(make_key)
    list = Listing(list_keys)
    get = Operation(get_key)
    revoke = Operation(revoke_key)
