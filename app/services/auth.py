"""API keys: who calls, and what the key allows."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import Forbidden, Unauthenticated
from core.vocabulary import Scope

EVERYTHING = frozenset(Scope)


@dataclass(frozen=True)
class Caller:
    """The bearer of a key. `id` is a digest that may be logged and stored; the key may not."""

    id: str
    scopes: frozenset[Scope]

    def need(self, scope: Scope) -> None:
        """Raise `Forbidden` unless the key has this scope; `admin` has them all."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            held = ", ".join(sorted(self.scopes))
            raise Forbidden(f"this needs a key with the scope {scope.value}; yours has {held}")


ANYONE = Caller("anyone", EVERYTHING)
"""Whoever calls a service without keys; such a service listens on loopback only."""


class Keyring:
    """The configured keys, kept as digests."""

    def __init__(self, keys: Mapping[str, frozenset[Scope]]) -> None:
        self._callers = {_digest(secret): scopes for secret, scopes in keys.items()}

    def identify(self, secret: str | None) -> Caller:
        """The caller with this key, or `Unauthenticated`. Every digest is compared, in constant time."""
        if not self._callers:
            return ANYONE
        given, found = _digest(secret or ""), None
        for digest, scopes in self._callers.items():
            if hmac.compare_digest(digest, given):
                found = Caller(digest.hex()[:16], scopes)
        if found is None:
            raise Unauthenticated(
                "send a valid key as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
                headers={"WWW-Authenticate": 'Bearer realm="masktune"'},
            )
        return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
