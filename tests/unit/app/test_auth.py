"""Keys: who calls, and what a key allows."""

import pytest

from app.services.auth import ANYONE, Keyring
from core.errors import Forbidden, Unauthenticated
from core.vocabulary import Scope


def test_without_keys_everything_is_open() -> None:
    assert Keyring({}).identify(None) is ANYONE
    ANYONE.need(Scope.ADMIN)


@pytest.mark.parametrize("given", [None, "", "wrong", "secret ", "SECRET", "\udcff"])
def test_a_wrong_key_is_refused(given: str | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        Keyring({"secret": frozenset({Scope.READ})}).identify(given)
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_key_has_its_own_scopes_and_admin_has_all() -> None:
    keyring = Keyring({"a": frozenset({Scope.READ}), "b": frozenset({Scope.ADMIN})})
    keyring.identify("a").need(Scope.READ)
    keyring.identify("b").need(Scope.TRAIN)
    with pytest.raises(Forbidden):
        keyring.identify("a").need(Scope.TRAIN)


def test_the_id_of_a_caller_does_not_tell_the_key() -> None:
    caller = Keyring({"secret": frozenset({Scope.READ})}).identify("secret")
    assert "secret" not in repr(caller)
