"""Shapes of keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from app.schemas.common import Strict, Text, Time
from core.vocabulary import Scope


class KeyRequest(Strict):
    """A key to make."""

    name: Annotated[Text, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")] = (
        Field(description="Who or what will use it.", examples=["the sorting line"])
    )
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(  # words of JSON, not yet the enum
        min_length=1, max_length=len(Scope), description="What it may do; `admin` includes all."
    )


class Key(BaseModel):
    """A key, without its secret, which the service does not have."""

    id: str
    name: str
    scopes: list[Scope]
    created_at: Time
    revoked_at: Time | None = Field(description="Since when it opens nothing; null while it is valid.")


class NewKey(Key):
    """A key that has just been made."""

    secret: str | None = Field(
        description="What to send as `Authorization: Bearer …`. It is told here and never again: the answer "
        "that an Idempotency-Key replays has null, and a key whose secret was lost is revoked and made anew."
    )
