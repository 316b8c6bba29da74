"""Shapes of keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from app.http.schemas import Time
from masktune.contract.base import Strict, Text
from masktune.contract.vocabulary import Scope


class KeyRequest(Strict):
    """A key to create."""

    name: Annotated[Text, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")] = (
        Field(description="Who or what will use the key.", examples=["the sorting line"])
    )
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(  # JSON strings, not yet the enum
        min_length=1, max_length=len(Scope), description="What the key may do; `admin` includes all scopes."
    )


class Key(BaseModel):
    """A key, without its secret, which the service does not keep."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: Time
    revoked_at: Time | None = Field(description="When the key was revoked; null while it is valid.")


class OwnKey(BaseModel):
    """The key that a request was sent with."""

    id: str | None = Field(description="Null for an operator's key, and if the service requires no key.")
    name: str | None = Field(description="Null where `id` is.")
    scopes: list[Scope] = Field(
        description="What the request may do; `admin` includes all. All of them if the service is open."
    )
    open: bool = Field(description="True if the service requires no key.")


class NewKey(Key):
    """A key that has just been created."""

    secret: str | None = Field(
        description="What to send as `Authorization: Bearer …`. It is shown here and never again: an answer "
        "replayed for an Idempotency-Key has null. If the secret is lost, revoke the key and create another."
    )
