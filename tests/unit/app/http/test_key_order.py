"""The order of keys in responses: by name, whatever the database returned."""

from __future__ import annotations

import json

from app.http.key_order import sorted_keys


def test_keys_are_sorted_at_every_level() -> None:
    stored = {"b": [{"d": None, "c": [1, "x", {"f": 1, "e": 2}]}], "a": True}
    assert json.dumps(sorted_keys(stored)) == json.dumps(
        {"a": True, "b": [{"c": [1, "x", {"e": 2, "f": 1}], "d": None}]}
    )


def test_nothing_but_the_order_changes() -> None:
    cases: tuple[object, ...] = ({"b": [{"d": None}], "a": True}, {}, [], None, "x")
    for stored in cases:
        assert sorted_keys(stored) == stored
