"""Keys: who calls, and what a key allows."""

import asyncio

import pytest

from app.auth.keyring import ANYONE, CACHE_SECONDS, REST_SECONDS, Caller, Keyring, digest_of, new_secret
from core.errors import Forbidden, Unauthenticated
from masktune.contract.vocabulary import Scope

pytestmark = pytest.mark.anyio

READ, ADMIN = frozenset({Scope.READ}), frozenset({Scope.ADMIN})


def identify(keyring: Keyring, secret: str | None) -> Caller:
    return asyncio.run(keyring.identify(secret))


class Kept:
    """Made keys that may be revoked, a clock, and how often the keys were read."""

    def __init__(self) -> None:
        self.keys = {"made": Caller("key_1", READ)}
        self.reads, self.now, self.away = 0, 0.0, False
        self.ring = Keyring({"root": ADMIN}, self.read, clock=lambda: self.now)

    def read(self) -> list[tuple[bytes, Caller]]:
        self.reads += 1
        if self.away:
            raise OSError("the database is away")
        return [(digest_of(secret), caller) for secret, caller in self.keys.items()]


def test_without_keys_everything_is_open() -> None:
    assert identify(Keyring({}), None) is ANYONE
    ANYONE.need(Scope.ADMIN)


@pytest.mark.parametrize("given", [None, "", "wrong", "secret ", "SECRET", "\udcff"])
def test_a_wrong_key_is_refused(given: str | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        identify(Keyring({"secret": READ}), given)
    assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_key_has_its_own_scopes_and_admin_has_all() -> None:
    keyring = Keyring({"a": READ, "b": ADMIN})
    identify(keyring, "a").need(Scope.READ)
    identify(keyring, "b").need(Scope.TRAIN)
    with pytest.raises(Forbidden):
        identify(keyring, "a").need(Scope.TRAIN)


def test_the_id_of_a_caller_does_not_tell_the_key() -> None:
    assert "secret" not in repr(identify(Keyring({"secret": READ}), "secret"))


def test_made_keys_count_only_where_the_operator_named_one() -> None:
    kept = Kept()
    assert identify(kept.ring, "made") == Caller("key_1", READ)
    assert identify(Keyring({}, kept.read), "made") is ANYONE
    closed = Keyring({}, kept.read, closed=True)
    assert identify(closed, "made") == Caller("key_1", READ)
    with pytest.raises(Unauthenticated):
        identify(closed, None)


async def test_made_keys_are_read_once_in_a_while_whoever_asks() -> None:
    kept = Kept()
    await asyncio.gather(*(kept.ring.identify("made") for _ in range(20)))
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            await kept.ring.identify("guessed")
        await kept.ring.identify("root")
    assert kept.reads == 1


def test_a_revoked_key_dies_within_seconds_and_at_once_where_it_was_revoked() -> None:
    for told in (True, False):
        kept = Kept()
        identify(kept.ring, "made")
        kept.keys.clear()
        if told:
            kept.ring.forget()
        else:
            assert identify(kept.ring, "made").id == "key_1"  # at another replica, for now
            kept.now = CACHE_SECONDS
        with pytest.raises(Unauthenticated):
            identify(kept.ring, "made")


def test_a_key_that_changes_while_they_are_read_is_read_again() -> None:
    kept = Kept()
    before = kept.read

    def slow() -> list[tuple[bytes, Caller]]:
        found = before()
        kept.keys.clear()
        kept.ring.forget()  # revoked after the reading, before its end
        return found

    kept.ring = Keyring({"root": ADMIN}, slow, clock=lambda: kept.now)
    identify(kept.ring, "made")
    with pytest.raises(Unauthenticated):
        identify(kept.ring, "made")


def test_without_the_database_the_operators_keys_open_and_no_other_is_believed() -> None:
    kept = Kept()
    identify(kept.ring, "made")
    kept.away, kept.now = True, CACHE_SECONDS
    assert identify(kept.ring, "root").scopes == ADMIN
    with pytest.raises(OSError, match="away"):
        identify(kept.ring, "made")


async def test_a_database_that_is_away_is_asked_once_for_all_who_wait_and_then_left_alone() -> None:
    """Each would wait for a try of its own, one behind the other, while the database hangs."""
    kept = Kept()
    kept.away = True
    asked = (kept.ring.identify(secret) for secret in ["made"] * 15 + ["root"])
    *refused, operator = await asyncio.gather(*asked, return_exceptions=True)
    assert (kept.reads, {str(one) for one in refused}) == (1, {"the database is away"})
    assert isinstance(operator, Caller)
    kept.now = REST_SECONDS * 0.9
    with pytest.raises(OSError, match="away"):
        await kept.ring.identify("made")
    assert kept.reads == 1
    kept.away, kept.now = False, REST_SECONDS
    assert (await kept.ring.identify("made")).id == "key_1"


async def test_a_failure_that_took_longer_than_the_rest_is_still_told_to_all_who_waited_for_it() -> None:
    kept = Kept()
    before = kept.read

    def slow() -> list[tuple[bytes, Caller]]:
        kept.now += 10 * REST_SECONDS
        return before()

    kept.away, kept.ring = True, Keyring({"root": ADMIN}, slow, clock=lambda: kept.now)
    await asyncio.gather(*(kept.ring.identify("made") for _ in range(15)), return_exceptions=True)
    assert kept.reads == 1


def test_a_key_made_after_a_failure_opens_at_once() -> None:
    """What was written shows that the database is back."""
    kept = Kept()
    kept.away = True
    with pytest.raises(OSError, match="away"):
        identify(kept.ring, "made")
    kept.away = False
    kept.ring.forget()
    assert identify(kept.ring, "made").id == "key_1"


def test_secrets_are_long_and_never_the_same() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert {len(secret) for secret in made} == {46}


@pytest.mark.parametrize("given", [None, "", "root"])
async def test_the_made_keys_are_read_for_a_secret_that_may_be_one_of_them(given: str | None) -> None:
    reads = 0

    def made() -> list[tuple[bytes, Caller]]:
        nonlocal reads
        reads += 1
        return []

    ring = Keyring({"root": frozenset({Scope.ADMIN})}, made)
    if given == "root":
        assert (await ring.identify(given)).scopes == {Scope.ADMIN}
    else:
        with pytest.raises(Unauthenticated):
            await ring.identify(given)
    assert reads == 0
    with pytest.raises(Unauthenticated):
        await ring.identify("guessed")
    assert reads == 1
