"""API keys: who calls, and what the key allows.

A key is one of the operator's (MASKTUNE_API_KEYS) or one that an admin made (`POST /keys`). Of both
only the SHA-256 is kept. A password would need a slow hash with a salt, because it can be guessed; the
secrets made here are 256 random bits, which no table and no speed of guessing reaches, and a slow hash
would cost its time at every request.
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
from core.vocabulary import Scope

EVERYTHING = frozenset(Scope)
KEPT_SECONDS = 5.0
"""How long the keys of the database are believed: a key that was revoked at another replica opens
nothing after this time. At the replica that revoked it, it opens nothing at once."""
REST_SECONDS = 1.0
"""How long the database is left alone after it did not tell the keys: a hung one lets each try wait."""
_PREFIX = "mt_"
"""So that a secret is known for what it is where it should not be, in a log or a repository."""


@dataclass(frozen=True)
class Caller:
    """The bearer of a key. `id` may be logged and stored (a made key's id, or a digest); the key may not."""

    id: str
    scopes: frozenset[Scope]

    def need(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the key has this scope; `admin` has them all."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            held = ", ".join(sorted(self.scopes))
            raise Forbidden(f"this needs a key with the scope {scope.value}; yours has {held}")


ANYONE = Caller("anyone", EVERYTHING)
"""Whoever calls a service without keys; such a service listens on loopback only."""

Made = Callable[[], Sequence[tuple[bytes, Caller]]]
"""Reads the made keys that are valid now: the digest of each, and who bears it."""


def new_secret() -> str:
    """A secret of 256 random bits, in 46 characters that need no quoting in a header or a shell."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    """The SHA-256 of a secret: 32 bytes, all that is kept of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class Keyring:
    """The operator's keys, and those of the database as they were at most `KEPT_SECONDS` ago."""

    def __init__(
        self,
        given: Mapping[str, frozenset[Scope]],
        made: Made = tuple,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = _callers(given)
        self._read, self._clock = made, clock
        self._made: Sequence[tuple[bytes, Caller]] = ()
        self._read_at = self._rests_until = float("-inf")
        self._failure = Exception()
        self._reading = asyncio.Lock()
        self._forgotten = 0

    @property
    def closed(self) -> bool:
        """Whether a key is needed at all: only where the operator named one."""
        return bool(self._given)

    def forget(self) -> None:
        """A key was made or revoked here: read them all again before the next one is believed."""
        self._forgotten += 1
        self._read_at = self._rests_until = float("-inf")

    async def identify(self, secret: str | None) -> Caller:
        """The caller with this key, or `Unauthenticated`. Every digest is compared, in constant time.

        Where the made keys cannot be read, the operator's still open, and any other raises what the
        database raised: a key whose revocation cannot be looked up is not believed.
        """
        if not self._given:
            return ANYONE
        given = digest_of(secret or "")
        found = _match(self._given, given)
        if found is None and secret:
            found = _match(await self._believed(), given)
        if found is None:
            raise Unauthenticated(
                "send a valid key as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                headers={"WWW-Authenticate": 'Bearer realm="masktune"'},
            )
        return found

    async def _believed(self) -> Sequence[tuple[bytes, Caller]]:
        """The made keys; one request reads them for all that wait meanwhile, or fails for them all."""
        asked = self._clock()
        if asked - self._read_at >= KEPT_SECONDS:
            async with self._reading:
                if self._clock() - self._read_at >= KEPT_SECONDS:
                    if asked < self._rests_until:
                        raise self._failure.with_traceback(None)  # that of each who is told would be added
                    await self._read_anew()
        return self._made

    async def _read_anew(self) -> None:
        begun, forgotten = self._clock(), self._forgotten
        try:
            self._made = await asyncio.to_thread(self._read)  # not among the threads of slow requests
        except Exception as error:
            if forgotten == self._forgotten:  # else the database takes keys: it is back
                self._failure, self._rests_until = error, self._clock() + REST_SECONDS
            raise
        if forgotten == self._forgotten:  # else a key changed while they were read
            self._read_at = begun


def made_keys(database: Database) -> list[tuple[bytes, Caller]]:
    """What a `Keyring` reads: digest and bearer of every key of the database that may be used now."""
    with database.read() as session:
        return [
            (bytes(row.digest), Caller(row.id, frozenset(map(Scope, row.scopes))))
            for row in keys.valid(session)
        ]


def _match(callers: Sequence[tuple[bytes, Caller]], given: bytes) -> Caller | None:
    found = None
    for digest, caller in callers:
        if hmac.compare_digest(digest, given):
            found = caller
    return found


def _callers(given: Mapping[str, frozenset[Scope]]) -> list[tuple[bytes, Caller]]:
    digests = {digest_of(secret): scopes for secret, scopes in given.items()}
    return [(digest, Caller(digest.hex()[:16], scopes)) for digest, scopes in digests.items()]
