"""Whether the API asks for a key, as the dashboard finds out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from starlette.requests import Request

from masktune import OwnKey
from tests.support.stub_api import StubApi, stub_api
from web.transport.connection import Connections, Identity, api_for, connect, missing_scope


@pytest.fixture
def api() -> Iterator[StubApi]:
    with stub_api() as stub:
        yield stub


@pytest.mark.parametrize(("status", "is_open"), [(200, True), (401, False)])
def test_an_api_that_answers_without_a_key_is_open(api: StubApi, status: int, is_open: bool) -> None:
    """It is asked once for many requests."""
    refused = {"title": "No", "detail": "no", "status": status}
    api.answers["/datasets"] = status, {"data": []} if is_open else refused

    async def asked_twice() -> list[bool]:
        connections = Connections(api.url)
        return [await connections.is_open() for _ in range(2)]

    assert asyncio.run(asked_twice()) == [is_open, is_open]
    assert len(api.asked) == 1


def test_an_error_does_not_change_whether_the_api_is_open(api: StubApi) -> None:
    api.answers["/datasets"] = 403, {"title": "No", "detail": "no", "status": 403}
    assert asyncio.run(Connections(api.url).is_open())


def test_an_unreachable_api_counts_as_open() -> None:
    assert asyncio.run(Connections("http://127.0.0.1:9").is_open())


def test_a_missing_scope_is_named() -> None:
    own = OwnKey(scopes=["read"])
    assert [own.may(scope) for scope in ("read", "train", "admin")] == [True, False, False]
    assert missing_scope(own, "train") == "This needs the scope train; you have read."
    assert missing_scope(OwnKey(scopes=[]), "train") == "This needs the scope train; you have none."


NOTED = ((b"remote-user", b"alice"), (b"remote-user", b""), (b"remote-groups", "café".encode()))
"""What a server notes of a request from a proxy that it believes."""


def visitor(*headers: tuple[bytes, bytes], noted: Identity | None = None) -> Request:
    """The request of a visitor for a page."""
    state = {} if noted is None else {"identity": noted}
    return Request({"type": "http", "headers": list(headers), "state": state})


async def headers_to_the_api(api: StubApi, request: Request) -> list[tuple[str, str]]:
    """The headers with which a page calls the API for this visitor, of those that say who it is."""
    connect(api.url)
    async for _ in api_for(request).datasets.list():
        break
    return [(name, text) for name, text in api.headers if name.lower() in WHO]


WHO = {"authorization", "remote-user", "remote-groups"}
BY_KEY = (b"cookie", b"masktune_key=mt_abc")


@pytest.mark.parametrize(
    ("request_of_visitor", "headers"),
    [
        (visitor(noted=NOTED), [(name.decode(), text.decode("latin-1")) for name, text in NOTED]),
        (visitor(BY_KEY, noted=NOTED), [("Authorization", "Bearer mt_abc")]),
        (visitor(*NOTED), []),
    ],
    ids=["passed on as they came", "a key in their place", "from a stranger"],
)
def test_the_api_learns_of_the_visitor_what_a_believed_proxy_said(
    api: StubApi, request_of_visitor: Request, headers: list[tuple[str, str]]
) -> None:
    assert asyncio.run(headers_to_the_api(api, request_of_visitor)) == headers


def test_visitors_whom_the_proxy_names_have_clients_of_their_own() -> None:
    connections = Connections("http://127.0.0.1:9")
    alice, bob = (connections.of(None, ((b"remote-user", name),)) for name in (b"alice", b"bob"))
    assert alice is not bob
    assert connections.of(None) not in (alice, bob)
    assert connections.of("a", ((b"remote-user", b"alice"),)) is connections.of("a")
