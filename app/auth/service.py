"""Keys created by an admin. The secret is shown once, and only its digest is kept."""

from __future__ import annotations

from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.idempotency import Once, fingerprint
from app.auth.keyring import Caller, Keyring, digest_of, new_secret
from app.http.caller_ids import public_id
from app.http.responses import represent
from core.errors import Conflict
from core.queries import keys
from core.session import after_commit
from core.tables import KeyRow
from masktune.contract.ids import new_id
from masktune.contract.keys import Key, KeyRequest, NewKey, OwnKey
from masktune.contract.vocabulary import Scope

MOST = 1000
"""Limit of valid keys. Each request is compared with all of them, which takes 0.1 to 0.2 ms at this limit."""


def create(once: Once, request: KeyRequest, keyring: Keyring, root_path: str) -> Response:
    """Answer 201 with the secret. The response stored for the Idempotency-Key does not contain it."""
    if not keyring.closed:
        raise Conflict(
            "this service is open to everyone who can reach it, so a key would change nothing; ask the "
            "operator to set MASKTUNE_API_KEYS=admin:SECRET and restart it, then create keys with that one"
        )
    secret, answers = new_secret(), list[NewKey]()

    def make(session: Session) -> Response:
        if len(keys.valid(session)) >= MOST:
            raise Conflict(f"there are already {MOST} valid keys, which is the limit; revoke some")
        row = KeyRow(
            id=new_id("key"),
            name=request.name,
            owner=request.owner,
            digest=digest_of(secret),
            scopes=[scope.value for scope in sorted(set(request.scopes))],
        )
        key = describe(keys.add(session, row))
        answers.append(NewKey(**dict(key), secret=secret))
        after_commit(session, keyring.forget)
        return _answer(NewKey(**dict(key), secret=None), root_path)

    stored = once.run(fingerprint(request), make)
    return (
        _answer(answers[0], root_path) if answers else stored
    )  # no key was created: replay the first response


def describe(row: KeyRow) -> Key:
    """Convert the row to the shape of the API."""
    return Key(
        id=row.id,
        name=row.name,
        owner=row.owner,
        scopes=[Scope(scope) for scope in row.scopes],
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )


def own(keyring: Keyring, caller: Caller) -> OwnKey:
    """Describe the caller's own key."""
    return OwnKey(
        id=public_id(caller.id),
        name=caller.name,
        scopes=sorted(caller.scopes),
        open=not keyring.closed,
    )


def revoke(session: Session, keyring: Keyring, key_id: str) -> None:
    """Revoke a key: on this replica with the commit, everywhere within `CACHE_SECONDS`."""
    keys.revoke(session, key_id)
    after_commit(session, keyring.forget)


def _answer(key: NewKey, root_path: str) -> Response:
    # no-store keeps the secret out of caches along the way.
    headers = {"Location": f"{root_path}/keys/{key.id}", "Cache-Control": "no-store"}
    return represent(key, status=201, headers=headers)
