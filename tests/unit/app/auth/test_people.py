"""The person whom a proxy names: who it is, what they may do, and which names are refused."""

from __future__ import annotations

import pytest

from app.auth.keyring import Caller
from app.auth.people import MOST_NAME, People
from app.http.caller_ids import public_id
from core.errors import Forbidden, Unauthenticated
from core.proxy_user import ProxyUser
from masktune.contract.vocabulary import Scope

NOBODY = (b"(null)", b"{http.reverse_proxy.header.Remote-User}")
"""What proxies send for somebody without a name: Apache, and Caddy 2.6."""
PEOPLE = People(
    ProxyUser("Remote-User", "Remote-Groups", "10.1.1.1"),
    {"*": frozenset({Scope.READ}), "ml": frozenset({Scope.TRAIN}), "café": frozenset({Scope.ADMIN})},
)


def named(*names: bytes, groups: tuple[bytes, ...] = ()) -> Caller:
    """The person of a request with these headers."""
    texts = [(b"remote-user", name) for name in names] + [(b"remote-groups", text) for text in groups]
    return PEOPLE.identify(texts)


def test_a_person_has_an_id_that_may_be_shown() -> None:
    alice = named(b"alice@example.org")
    assert (alice.id, alice.name) == ("user:alice@example.org", "alice@example.org")
    assert public_id(alice.id) == alice.id


@pytest.mark.parametrize(
    ("groups", "scopes"),
    [
        ((), {"read"}),
        ((b"",), {"read"}),
        ((b"ml",), {"read", "train"}),
        ((b"staff, ml ,",), {"read", "train"}),
        (("café".encode(),), {"read", "admin"}),
        ((b"ML, mlx, *, \xff",), {"read"}),
    ],
)
def test_groups_add_up_to_scopes(groups: tuple[bytes, ...], scopes: set[str]) -> None:
    assert named(b"alice", groups=groups).scopes == scopes


def test_a_person_without_scopes_may_do_nothing() -> None:
    nobody = People(ProxyUser("Remote-User", "", "10.1.1.1"), {}).identify([(b"remote-user", b"alice")])
    with pytest.raises(Forbidden, match="you have none"):
        nobody.need(Scope.READ)


@pytest.mark.parametrize("name", [b"a", b"a b", b"EXAMPLE\\alice", b"auth0|1", b"x" * MOST_NAME])
def test_a_name_is_kept_as_it_is_and_fits_the_tables(name: bytes) -> None:
    person = named(name)
    assert person.name == name.decode()
    assert len(person.id) <= 64


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b" ",
        b" alice",
        b"alice ",
        b"x" * (MOST_NAME + 1),
        b"a\nb",
        b"a\tb",
        b"a\x00",
        "é".encode(),
        b"\xe9",
        *NOBODY,
    ],
)
def test_other_names_are_refused(name: bytes) -> None:
    with pytest.raises(Unauthenticated, match="must send Remote-User once"):
        named(name)


def test_a_header_that_came_twice_is_refused_as_one_may_be_the_clients() -> None:
    for names, groups in (((b"alice", b"root"), ()), ((b"alice",), (b"ml", b"staff")), ((), (b"ml",))):
        with pytest.raises(Unauthenticated):
            named(*names, groups=groups)
