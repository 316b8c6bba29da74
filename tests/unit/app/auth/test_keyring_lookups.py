"""Who sends no key, or the operator's, costs no look at the keys of the database."""

from __future__ import annotations

import asyncio

import pytest

from app.auth.keyring import Caller, Keyring
from core.errors import Unauthenticated
from masktune.contract.vocabulary import Scope


@pytest.mark.parametrize("given", [None, "", "root"])
def test_the_made_keys_are_read_for_a_secret_that_may_be_one_of_them(given: str | None) -> None:
    reads = 0

    def made() -> list[tuple[bytes, Caller]]:
        nonlocal reads
        reads += 1
        return []

    ring = Keyring({"root": frozenset({Scope.ADMIN})}, made)
    if given == "root":
        assert asyncio.run(ring.identify(given)).scopes == {Scope.ADMIN}
    else:
        with pytest.raises(Unauthenticated):
            asyncio.run(ring.identify(given))
    assert reads == 0
    with pytest.raises(Unauthenticated):
        asyncio.run(ring.identify("guessed"))
    assert reads == 1
