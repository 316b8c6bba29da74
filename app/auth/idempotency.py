"""Idempotency-Key: the first response is stored in the same transaction as what it created, and replayed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.auth.deps import CallerDep
from app.http.deps import DatabaseDep, TracingDep
from app.http.headers import REPLAYED
from core.errors import IdempotencyMismatch, RequestInFlight
from core.queries import idempotency
from core.session import Database
from core.tables import IdempotencyRow
from core.tracing import Origin

STALE_AFTER = 60.0
"""Seconds after which an unanswered reservation is taken to belong to a dead process. A creation takes far
less; one that nevertheless takes longer is rolled back."""

T = TypeVar("T")

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key and body replays the first answer (`Idempotency-Replayed: true`); a "
        "different body under the same key is a 422; while the first request is in progress it is a 409.",
        examples=["5f3c2f0e-upload-1"],
    ),
]


@dataclass(frozen=True)
class Once:
    """Runs a creation at most once per Idempotency-Key, in its own transaction."""

    database: Database
    caller: str
    """Id of the caller: `created_by` of what is created here."""
    key: str | None
    """Digest of (caller, method, path, Idempotency-Key), or None if no key was sent."""
    origin: Origin = field(default_factory=Origin)
    """The request, for the logs and traces of the jobs that it starts."""

    def run(self, fingerprint: str, make: Callable[[Session], Response]) -> Response:
        """Return the response of `make`, or the stored response of the first request with this key.

        `make` must create within the session it is given, and its response must not be a stream.
        """
        return self.run_planned(fingerprint, lambda: None, lambda session, _: make(session))

    def stored_response(self, fingerprint: str) -> Response | None:
        """Return the stored response of an earlier request with this key, to save slow work before `run`.

        Also None while that request is in progress, a case that only `run` can decide.
        """
        if self.key is None:
            return None
        with self.database.read() as session:
            first = session.get(IdempotencyRow, self.key)
        return None if first is None or first.status is None else _replay(first, fingerprint)

    def run_planned(
        self, fingerprint: str, plan: Callable[[], T], make: Callable[[Session, T], Response]
    ) -> Response:
        """Like `run`, with `plan` for slow work that writes nothing, done before the transaction begins."""
        if self.key is None:
            planned = plan()
            with self.database.begin() as session:
                return make(session, planned)
        with self.database.begin() as session:
            first = idempotency.begin(session, self.key, fingerprint, stale_after=STALE_AFTER)
            since = session.get_one(IdempotencyRow, self.key).at
        if first is not None:
            return _replay(first, fingerprint)
        try:
            planned = plan()
            with self.database.begin() as session:
                response = make(session, planned)
                _store(session, self.key, since, response)
        except BaseException:  # nothing was created, whatever the error: release the key
            with self.database.begin() as session:
                idempotency.forget(session, self.key, since=since)
            raise
        return response


async def _once(
    request: Request,
    caller: CallerDep,
    database: DatabaseDep,
    tracing: TracingDep,
    key: IdempotencyKey = None,
) -> Once:
    origin = Origin(request.state.request_id, tracing.traceparent())
    if key is None:
        return Once(database, caller.id, None, origin)
    words = "\n".join((caller.id, request.method, request.url.path, key))
    digest = hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()
    return Once(database, caller.id, digest, origin)


Idempotent = Annotated[Once, Depends(_once)]


def fingerprint(*parts: BaseModel | str) -> str:
    """Digest a request's content; models count by their JSON, with defaults filled in."""
    digest = hashlib.sha256()
    for part in parts:
        text = part.model_dump_json() if isinstance(part, BaseModel) else part
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def _replay(first: IdempotencyRow, fingerprint: str) -> Response:
    if first.fingerprint != fingerprint:
        raise IdempotencyMismatch("this Idempotency-Key was used with a different body; use a new key")
    if first.status is None:
        raise _in_flight()
    return Response(first.body, status_code=first.status, headers=first.headers | {REPLAYED: "true"})


def _store(session: Session, key: str, since: float, response: Response) -> None:
    headers = {name: text for name, text in response.headers.items() if name != "content-length"}
    status, body = response.status_code, bytes(response.body)
    if not idempotency.finish(session, key, since=since, status=status, headers=headers, body=body):
        raise _in_flight()  # another request has taken over the key: roll back what this one created


def _in_flight() -> RequestInFlight:
    return RequestInFlight(
        "another request with this Idempotency-Key is still in progress; try again in a moment",
        headers={"Retry-After": "1"},
    )
