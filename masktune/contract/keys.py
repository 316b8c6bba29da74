"""Keys: the request and the answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from masktune.contract.base import Name, ScopeName, Shape, Strict, Time
from masktune.contract.vocabulary import Scope


class KeyRequest(Strict):
    """A key to create."""

    name: Name = Field(description="Who or what will use the key.", examples=["the sorting line"])
    owner: Name | None = Field(None, description="Who answers for the key.", examples=["alice@example.org"])
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(  # JSON strings, not yet the enum
        min_length=1, max_length=len(Scope), description="What the key may do; `admin` includes all scopes."
    )


class Key(Shape):
    """A key, without its secret, which the service does not keep."""

    id: str
    name: str
    owner: str | None = Field(None, description="Who answers for the key.")
    scopes: list[ScopeName]
    created_at: Time
    revoked_at: Time | None = Field(None, description="When the key was revoked; null while it is valid.")


class OwnKey(Shape):
    """The key that a request was sent with, or the person whom the proxy in front named."""

    id: str | None = Field(
        None,
        description="`user:` and the name of a person; null for an operator's key, and if the service "
        "requires no key.",
    )
    name: str | None = Field(None, description="Of the key or the person; null where `id` is.")
    scopes: list[ScopeName] = Field(
        description="What the request may do; `admin` includes all. All of them if the service is open."
    )
    open: bool = Field(False, description="True if the service requires no key.")

    def may(self, scope: str) -> bool:
        """Whether the caller has this scope; `admin` includes all."""
        return scope in self.scopes or "admin" in self.scopes


class NewKey(Key):
    """A key that has just been created."""

    secret: str | None = Field(
        None,
        description="What to send as `Authorization: Bearer …`. It is shown here and never again: an answer "
        "replayed for an Idempotency-Key has null. If the secret is lost, revoke the key and create another.",
    )


class AuditEntry(Shape):
    """A change that a caller made."""

    id: str
    created_at: Time = Field(description="When the change was made.")
    actor: str = Field(
        description="Id of the key that made it, or `user:` and the name of the person; `operator` for a key "
        "of `MASKTUNE_API_KEYS`, `anyone` if the service required no key."
    )
    actor_name: str | None = Field(None, description="Name of the key or the person.")
    action: str = Field(
        description="Id of the operation in this document.", examples=["delete_dataset", "start_masktune"]
    )
    object: str = Field(
        description="What was changed or created: its id, or its name if the request names it."
    )
    status: int = Field(description="Status of the answer, always a success.")
    request_id: str = Field(description="`X-Request-ID` of the request; it is in the log.")
    address: str | None = Field(None, description="Where the request came from, as the proxy in front tells.")
