"""The order of keys in responses, which does not depend on the database.

PostgreSQL returns the keys of a stored JSON object by their length, SQLite as they were written. Fields of
the contract have its order; all other keys are sorted, so that a resource has the same bytes, and the same
ETag, on both.
"""

from __future__ import annotations

from typing import Any


def sorted_keys(stored: Any) -> Any:
    """Sort the keys of JSON objects by name, at every level."""
    if isinstance(stored, dict):
        return {name: sorted_keys(stored[name]) for name in sorted(stored)}
    return [sorted_keys(entry) for entry in stored] if isinstance(stored, list) else stored
