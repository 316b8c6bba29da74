"""Ids of callers: a created key's id, `PERSON` and the name of a person, or a digest of an operator's key."""

from __future__ import annotations

from masktune.contract.ids import is_id

PERSON = "user:"


def public_id(caller_id: str | None) -> str | None:
    """The id that others may see: of a created key or a person.
    That of an operator's key is a digest of it: None."""
    public = caller_id is not None and (is_id(caller_id, "key") or caller_id.startswith(PERSON))
    return caller_id if public else None
