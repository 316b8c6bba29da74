"""Kinds of images, by their first bytes; keys that are kept, and those that cannot be."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request

from web.transport.connection import KEY_COOKIE, key_of
from web.transport.files import media_type, router


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"<html>", "application/octet-stream"),
        (b"<svg", "application/octet-stream"),
    ],
)
def test_only_images_are_shown_as_images(data: bytes, kind: str) -> None:
    assert media_type(data) == kind


@pytest.fixture
def browser() -> TestClient:
    app = FastAPI()
    app.include_router(router)
    return TestClient(app, follow_redirects=False)


def test_a_key_is_kept_and_forgotten(browser: TestClient) -> None:
    kept = browser.post("/key", data={"key": " mt_abc ", "next": "/jobs"})
    assert (kept.status_code, kept.headers["location"]) == (303, "/jobs")
    assert browser.cookies[KEY_COOKIE] == "mt_abc"
    browser.post("/key", data={"key": ""})
    assert KEY_COOKIE not in browser.cookies


def test_who_gives_a_key_comes_back_to_the_whole_address(browser: TestClient) -> None:
    wanted = "/new?kind=evaluate&model=mdl_1"
    kept = browser.post("/key", data={"key": "mt_abc", "next": wanted})
    assert kept.headers["location"] == wanted
    refused = browser.post("/key", data={"key": "schlüssel", "next": wanted})
    assert refused.headers["location"] == f"{wanted}&unsendable"


@pytest.mark.parametrize("key", ["schlüssel", "mt_abc…", "mt\x00abc", "mt_\u200babc", "a\r\nb"])
def test_a_key_that_no_request_can_carry_is_not_kept(browser: TestClient, key: str) -> None:
    """Every page would fail with it, and none would be left to forget it on."""
    refused = browser.post("/key", data={"key": key, "next": "/jobs"})
    assert (refused.status_code, refused.headers["location"]) == (303, "/jobs?unsendable")
    assert "set-cookie" not in refused.headers


def test_a_key_that_was_kept_before_and_cannot_be_sent_counts_as_none() -> None:
    cookie = f'{KEY_COOKIE}="schl\\374ssel"'.encode()
    assert key_of(Request({"type": "http", "headers": [(b"cookie", cookie)]})) is None
