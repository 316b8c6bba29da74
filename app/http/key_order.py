"""The order of keys in responses, which does not depend on the database.

PostgreSQL returns the keys of a stored JSON object by their length, SQLite as they were written. Responses
put them into one order, so that a resource has the same bytes, and the same ETag, on both.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from masktune.contract.vocabulary import Arm
from models.data.formats.manifest import natural_order
from models.data.splits import ALL_SPLITS

V = TypeVar("V")
Order: TypeAlias = Mapping[str, "Order"]
"""Names in order, each with the order of the keys in its value."""

_NESTED = (dict, list)
BY_NAME: Order = {}
"""The keys are not known in advance."""


def each(names: Iterable[str], order: Order = BY_NAME) -> Order:
    """Return an order of these names, with the same order below each of them."""
    return dict.fromkeys(names, order)


def of_fields(kind: type) -> Order:
    """Return the order in which a dataclass defines its fields, including nested dataclasses."""
    hints = typing.get_type_hints(kind)
    return {field.name: _of_hint(hints[field.name]) for field in dataclasses.fields(kind)}


SPLITS = each(ALL_SPLITS)
ARMS = each(arm.value for arm in Arm)
FIGURES = each(
    (
        "accuracy",
        "balanced_accuracy",
        "worst_class_accuracy",
        "worst_group_accuracy",
        "train_weighted_accuracy",
        "groups",
    )
)
"""The figures of one model on one split."""
METRICS = each(ARMS, each(SPLITS, FIGURES))
"""Figures by arm and split."""


def ordered(found: Mapping[str, V], order: Order = BY_NAME) -> dict[str, V]:
    """Sort the keys, at every level: known ones in their order, then the others by name."""
    names = [name for name in order if name in found]
    if len(names) < len(found):
        names += natural_order(name for name in found if name not in order)
    # Inlined, since most values are plain and a list of data sets has thousands of them.
    return {
        name: _below(value, order.get(name, BY_NAME)) if isinstance(value := found[name], _NESTED) else value
        for name in names
    }


def _below(value: Any, order: Order) -> Any:
    if isinstance(value, dict):
        return ordered(value, order)
    return [_below(one, order) if isinstance(one, _NESTED) else one for one in value]


def _of_hint(hint: Any) -> Order:
    """Return the order for the dataclass in an annotation like `tuple[Finding, ...]` or `Transfer | None`."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return of_fields(hint)
    return next((found for part in typing.get_args(hint) if (found := _of_hint(part))), BY_NAME)
