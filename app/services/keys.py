"""Keys made by an admin: their secret is told once, and only its digest is kept."""

from __future__ import annotations

from sqlalchemy.orm import Session
from starlette.responses import Response

from app.deps import Services
from app.schemas.keys import Key, KeyRequest, NewKey
from app.services.auth import digest_of, new_secret
from app.services.idempotency import Once, fingerprint
from app.services.representation import represent
from core.errors import Conflict
from core.ids import new_id
from core.queries import keys
from core.session import after_commit
from core.tables import KeyRow
from core.vocabulary import Scope

MOST = 1000
"""Valid keys at a time: a request is compared with every one, which takes 0.1 to 0.2 ms then."""


def create(services: Services, once: Once, request: KeyRequest) -> Response:
    """201 with the secret. The answer that is kept for the Idempotency-Key is without it."""
    if not services.keyring.closed:
        raise Conflict(
            "this service is open to all who reach it, and a key would change nothing: let the operator set "
            "MASKTUNE_API_KEYS=admin:SECRET and restart it, then make keys with that one"
        )
    secret, told = new_secret(), list[NewKey]()

    def make(session: Session) -> Response:
        if len(keys.valid(session)) >= MOST:
            raise Conflict(f"there are {MOST} valid keys, and there may not be more; revoke some")
        row = KeyRow(
            id=new_id("key"),
            name=request.name,
            digest=digest_of(secret),
            scopes=[scope.value for scope in sorted(set(request.scopes))],
        )
        shown = describe(keys.add(session, row))
        told.append(NewKey(**dict(shown), secret=secret))
        after_commit(session, services.keyring.forget)
        return _answer(services, NewKey(**dict(shown), secret=None))

    kept = once.run(fingerprint(request), make)
    return _answer(services, told[0]) if told else kept  # none was made: the first answer is replayed


def describe(row: KeyRow) -> Key:
    """The row as the API tells it."""
    return Key(
        id=row.id,
        name=row.name,
        scopes=[Scope(scope) for scope in row.scopes],
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )


def revoke(services: Services, session: Session, key_id: str) -> None:
    """It opens nothing here once this is committed, and nowhere `KEPT_SECONDS` later."""
    keys.revoke(session, key_id)
    after_commit(session, services.keyring.forget)


def _answer(services: Services, key: NewKey) -> Response:
    # no-store: a secret must not lie in a cache on the way.
    headers = {"Location": services.location(f"/keys/{key.id}"), "Cache-Control": "no-store"}
    return represent(key, status=201, headers=headers)
