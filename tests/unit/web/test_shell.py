"""Errors in words, and pages that ask no other machine for anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import web
from masktune import ClientError, ProblemError, UnexpectedAnswer, Unreachable, WaitedTooLong
from web.app import POLICY
from web.transport import connection
from web.transport.errors import error_text

ROOM = Path(web.__file__).parent


def _problem(status: int, **more: object) -> ProblemError:
    return ProblemError(
        {"title": "Not so", "detail": "do it otherwise", "status": status} | more, status=status
    )


@pytest.mark.parametrize(
    ("error", "title", "detail"),
    [
        (_problem(404), "Not found", "Do it otherwise"),
        (_problem(403), "You may not do that", "Do it otherwise"),
        (_problem(409), "Not so", "Do it otherwise"),
        (
            _problem(422, errors=[{"pointer": "/epochs", "code": "x", "detail": "must be positive"}]),
            "Not so",
            "epochs: must be positive",
        ),
        (
            UnexpectedAnswer("no JSON"),
            "The service sent an answer that this dashboard does not understand",
            "no JSON",
        ),
        (WaitedTooLong("too long"), "That did not work", "too long"),
    ],
)
def test_each_error_says_what_to_do(error: ClientError, title: str, detail: str) -> None:
    assert error_text(error) == (title, detail)


def test_an_unreachable_service_is_named() -> None:
    connection.connect("http://127.0.0.1:9")
    title, detail = error_text(Unreachable("refused"))
    assert title == "The service is not responding"
    assert "http://127.0.0.1:9" in detail


def test_one_client_for_each_key_and_few_are_kept() -> None:
    held = connection.Connections("http://127.0.0.1:9")
    first = held.of("a")
    assert held.of("a") is first
    assert held.of(None) is not first
    for number in range(200):
        held.of(str(number))
    assert held.of("a") is not first


@pytest.mark.parametrize(
    "file", sorted([*ROOM.glob("templates/*"), *ROOM.glob("static/*")]), ids=lambda f: f.name
)
def test_no_file_names_another_machine(file: Path) -> None:
    assert re.findall(r"https?://|//[a-z]+\.|@import|url\(", file.read_text()) == []


def test_the_policy_allows_this_machine_alone() -> None:
    assert "default-src 'self'" in POLICY
    assert "http" not in POLICY
