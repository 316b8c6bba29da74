"""What all tables share: the types of their columns."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, Double, Enum, String
from sqlalchemy.orm import DeclarativeBase, mapped_column

from masktune.contract.vocabulary import (
    Arm,
    DatasetState,
    JobKind,
    JobState,
    ReviewKind,
    ReviewOutcome,
    Stage,
    UsageKind,
)

Json = JSON(none_as_null=True)
"""On PostgreSQL not JSONB, which forgets the order of keys: so a resource has the same bytes on both."""


def _word(kind: type[StrEnum], *, length: int = 16) -> Enum:
    """A word of the vocabulary, stored as plain text so that a new word needs no migration of a type."""
    return Enum(kind, native_enum=False, create_constraint=False, length=length, values_callable=_values)


def _values(kind: type[StrEnum]) -> list[str]:
    return [word.value for word in kind]


def user_metadata() -> Any:
    """The column `metadata`, a name that SQLAlchemy keeps for itself: the users' own pairs of texts."""
    return mapped_column("metadata", default=dict)


class Table(DeclarativeBase):
    """The base class of all tables; migrations are compared with `Table.metadata`."""

    type_annotation_map: ClassVar = {
        float: Double(),
        str: String(),
        dict[str, Any]: Json,
        list[str]: Json,
        list[int]: Json,
        JobKind: _word(JobKind),
        JobState: _word(JobState),
        Stage: _word(Stage),
        DatasetState: _word(DatasetState),
        Arm: _word(Arm, length=32),
        UsageKind: _word(UsageKind, length=32),
        ReviewKind: _word(ReviewKind),
        ReviewOutcome: _word(ReviewOutcome, length=32),
    }
