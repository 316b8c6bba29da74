"""Uploads: images that are kept for a moment, names, what is wrong with a form before a file is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from masktune import AsyncClient, Limits
from tests.support.stub_api import StubApi, stub_api
from web.text import labels as words
from web.transport.connection import connect
from web.transport.disk_quota import room
from web.transport.uploads import LARGEST_IMAGE, Brought, Dropped, Shelf, harmless_name, largest, router


def test_an_image_is_taken_once() -> None:
    shelf = Shelf()
    token = shelf.put(Dropped("a.png", b"1"))
    assert shelf.take(token) == Dropped("a.png", b"1")
    assert shelf.take(token) is None


def test_the_shelf_holds_the_last_few() -> None:
    shelf = Shelf(room=2)
    first, *others = [shelf.put(Dropped(str(n), b"")) for n in range(3)]
    assert shelf.take(first) is None
    assert all(shelf.take(token) for token in others)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("birds.zip", "birds.zip"),
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\a.tar.gz", "a.tar.gz"),
        ("..", "upload"),
        ("", "upload"),
        ("a" * 300 + ".zip", "a" * 196 + ".zip"),
    ],
)
def test_a_name_keeps_its_ending_and_no_path(given: str, kept: str) -> None:
    assert harmless_name(given) == kept


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        (Brought("resnet18", "cat\ndog", "224"), []),
        (Brought("resnet18", "", "224", dataset="ds_1", name="birds-best"), []),
        (Brought(), ["/backbone", "/image_size", "/classes"]),
        (Brought("resnet18", "cat\n \n", "-1"), ["/image_size", "/classes"]),
        (Brought("resnet18", "cat\ndog", "224", name="Birds Best"), ["/name"]),
    ],
)
def test_a_form_says_what_is_wrong_before_the_file_is_sent(form: Brought, wrong: list[str]) -> None:
    assert [fault.pointer for fault in form.faults()] == wrong


def test_classes_stand_one_on_a_line() -> None:
    assert Brought(classes=" cat \r\n\nbig dog\n").named == ["cat", "big dog"]


@pytest.mark.parametrize(
    ("path", "headers", "status", "said"),
    [
        ("/upload/dataset", {}, 403, "this dashboard's own pages"),
        ("/upload/dataset?size=1000000000000000000", {"X-Masktune": "ask"}, 507, "has room for"),
        ("/upload/model?size=1000000000000000000", {"X-Masktune": "ask"}, 507, "has room for"),
        (f"/upload/image?size={LARGEST_IMAGE + 1}", {"X-Masktune": "ask"}, 413, "too large: the limit is"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_sent(
    path: str, headers: dict[str, str], status: int, said: str
) -> None:
    connect("http://127.0.0.1:9")
    app = FastAPI()
    app.include_router(router)
    answer = TestClient(app).post(path, headers=headers)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True)


LIMITS = dict.fromkeys(Limits.model_fields, 10**9)
FIELDS = {"backbone": "small_cnn", "image_size": "28", "classes": "a\nb"}


def _asked_with(*scopes: str, path: str, api: StubApi, **fields: str) -> Any:
    """What the dashboard says to a browser whose key has these scopes."""
    api.answers["/limits"] = 200, LIMITS
    api.answers.setdefault("/keys/self", (200, {"scopes": scopes}))
    connect(api.url)
    app = FastAPI()
    app.include_router(router)
    return TestClient(app).post(path, headers={"X-Masktune": "ask"}, params={"size": "9"} | fields)


@pytest.mark.parametrize(
    ("path", "fields", "scope"),
    [("/upload/dataset", {}, "train"), ("/upload/model", FIELDS, "train"), ("/upload/image", {}, "predict")],
)
def test_a_key_that_may_not_is_refused_before_anything_is_sent(
    path: str, fields: dict[str, str], scope: str
) -> None:
    for scopes, status in (([scope], 204), (["admin"], 204), (["read"], 403)):
        with stub_api() as api:
            answer = _asked_with(*scopes, path=path, api=api, **fields)
            assert answer.status_code == status, scopes
    said = f"This needs a key with the scope {scope}; yours has only read."
    assert answer.json() == {"status": 403, "detail": said, "fields": {}}


def test_an_alias_that_the_key_may_not_set_is_a_wrong_field() -> None:
    for scopes, status in ((["train"], 422), (["train", "admin"], 204)):
        with stub_api() as api:
            answer = _asked_with(*scopes, path="/upload/model", api=api, **FIELDS, name="best")
            assert answer.status_code == status, scopes
            if status == 422:
                assert list(answer.json()["fields"]) == ["name"]


def test_a_service_that_does_not_know_the_key_says_so() -> None:
    with stub_api() as api:
        problem = {"type": "/problems/unauthenticated", "title": "No", "status": 401, "detail": "send a key"}
        api.answers["/keys/self"] = 401, problem
        assert _asked_with(path="/upload/dataset", api=api).status_code == 401


@pytest.fixture
def five_kilobytes() -> Iterator[None]:
    """The room of this process, as a setting makes it."""
    room.most = 5_000
    yield
    room.most = 0


@pytest.mark.usefixtures("five_kilobytes")
def test_a_file_larger_than_what_uploads_may_take_is_refused() -> None:
    """The disk may be the node's, and the share of it that is the dashboard's smaller."""
    connect("http://127.0.0.1:9")
    app = FastAPI()
    app.include_router(router)
    answer = TestClient(app).post("/upload/dataset?size=6000", headers={"X-Masktune": "ask"})
    said = f"This file has {words.size(6_000)}, but the dashboard has room for only {words.size(5_000)}."
    assert (answer.status_code, answer.json()["detail"]) == (507, said)


@pytest.mark.usefixtures("five_kilobytes")
@pytest.mark.parametrize(("api_takes", "told"), [(4_000, 4_000), (20 * 2**30, 5_000)])
def test_the_smaller_of_both_limits_is_told(api_takes: int, told: int) -> None:
    limits = dict.fromkeys(Limits.model_fields, 1) | {"max_upload_bytes": api_takes}
    answers = httpx.MockTransport(lambda request: httpx.Response(200, json=limits))
    assert asyncio.run(largest(AsyncClient("http://api", transport=answers))) == told
