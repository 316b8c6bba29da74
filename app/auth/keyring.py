"""API keys: who is calling, and what the key allows.

A key comes from the operator (MASKTUNE_API_KEYS) or was created by an admin (`POST /keys`). Only the SHA-256
of either is kept. A password can be guessed and would need a slow, salted hash. The secrets created here are
256 random bits, out of reach of any table or brute force, and a slow hash would be paid on every request.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import Forbidden, Unauthenticated
from core.queries import keys
from core.session import Database
from masktune.contract.vocabulary import Scope

ALL_SCOPES = frozenset(Scope)
CACHE_SECONDS = 5.0
"""How long the keys read from the database are cached. A revoked key stops working at once on the replica
that revoked it, and within this time on the others."""
REST_SECONDS = 1.0
"""Pause after the keys could not be read, because each attempt waits if the database hangs."""
_PREFIX = "mt_"
"""Makes a leaked secret recognisable, for example in a log or a repository."""


CHALLENGE = {"WWW-Authenticate": 'Bearer realm="masktune"'}
"""Headers of every 401 (RFC 9110, 11.6.1)."""


@dataclass(frozen=True)
class Caller:
    """The bearer of a key, or a person (`app.auth.people`).
    Unlike the key, `id` may be logged and stored: a created key's id, `PERSON` and the name of a person, or a
    digest.

    `name` is set for created keys and people only.
    """

    id: str
    scopes: frozenset[Scope]
    name: str | None = None

    def need(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the caller has this scope; `admin` includes all scopes."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            held = ", ".join(sorted(self.scopes)) or "none"
            raise Forbidden(f"this needs the scope {scope.value}; you have {held}")


ANYONE = Caller("anyone", ALL_SCOPES)
"""The caller of a service without keys, which listens on loopback only."""


ReadKeys = Callable[[], Sequence[tuple[bytes, Caller]]]
"""Reads the created keys that are valid now: each key's digest and its bearer."""


def new_secret() -> str:
    """Generate a secret of 256 random bits: 46 characters that need no quoting in a header or a shell."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """Return the SHA-256 of a secret (32 bytes), the only form in which it is kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Keyring:
    """The operator's keys, and those in the database as of at most `CACHE_SECONDS` ago."""

    def __init__(
        self,
        operator: Mapping[str, frozenset[Scope]],
        read_created: ReadKeys = tuple,
        *,
        closed: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._operator = _callers(operator)
        self.closed = closed or bool(operator)
        """Whether a key is needed at all."""
        self._read, self._clock = read_created, clock
        self._created: Sequence[tuple[bytes, Caller]] = ()
        self._read_at = self._rests_until = float("-inf")
        self._failure = Exception()
        self._reading = asyncio.Lock()
        self._forgotten = 0

    def forget(self) -> None:
        """Discard the cached keys, because one was created or revoked here."""
        self._forgotten += 1
        self._read_at = self._rests_until = float("-inf")

    async def identify(self, secret: str | None) -> Caller:
        """Return the caller with this key, or raise `Unauthenticated`.
        Compares all digests in constant time.

        If the created keys cannot be read, the operator's keys still work, and any other key raises the
        database's error: a key is not accepted while its revocation cannot be checked.
        """
        if not self.closed:
            return ANYONE
        digest = digest_of(secret or "")
        caller = _match(self._operator, digest)
        if caller is None and secret:
            caller = _match(await self._created_keys(), digest)
        if caller is None:
            raise Unauthenticated(
                "send a valid key as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                headers=CHALLENGE,
            )
        return caller

    async def _created_keys(self) -> Sequence[tuple[bytes, Caller]]:
        """Return the created keys. One request reads them for all that are waiting, or fails for all."""
        requested_at = self._clock()
        if requested_at - self._read_at >= CACHE_SECONDS:
            async with self._reading:
                if self._clock() - self._read_at >= CACHE_SECONDS:
                    if requested_at < self._rests_until:
                        raise self._failure.with_traceback(None)  # else it would grow with each raise
                    await self._read_anew()
        return self._created

    async def _read_anew(self) -> None:
        started, forgotten = self._clock(), self._forgotten
        try:
            self._created = await asyncio.to_thread(self._read)  # not in the thread pool of slow requests
        except Exception as error:
            if forgotten == self._forgotten:  # else a key was just stored: the database works again
                self._failure, self._rests_until = error, self._clock() + REST_SECONDS
            raise
        if forgotten == self._forgotten:  # else a key changed during the read
            self._read_at = started


def created_keys(database: Database) -> list[tuple[bytes, Caller]]:
    """Read the digest and bearer of every valid key in the database, for a `Keyring`."""
    with database.read() as session:
        return [
            (bytes(row.digest), Caller(row.id, frozenset(map(Scope, row.scopes)), row.name))
            for row in keys.valid(session)
        ]


def _match(callers: Sequence[tuple[bytes, Caller]], digest: bytes) -> Caller | None:
    match = None
    for known, caller in callers:
        if hmac.compare_digest(known, digest):
            match = caller
    return match


def _callers(operator: Mapping[str, frozenset[Scope]]) -> list[tuple[bytes, Caller]]:
    digests = {digest_of(secret): scopes for secret, scopes in operator.items()}
    return [(digest, Caller(digest.hex()[:16], scopes)) for digest, scopes in digests.items()]
