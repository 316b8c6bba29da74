"""Uploads: forms are passed on to the API, images are kept for a moment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.support.stub_api import StubApi, stub_api
from web.transport.connection import connect
from web.transport.dropped_images import LARGEST_IMAGE, DroppedImage, dropped_images
from web.transport.uploads import router

NO_KEY = {"type": "/problems/unauthenticated", "title": "No", "status": 401, "detail": "send a key"}


@pytest.fixture
def api() -> Iterator[StubApi]:
    with stub_api() as stub:
        stub.answers["/keys/self"] = 200, {"scopes": ["predict"]}
        connect(stub.url)
        yield stub


@pytest.fixture
def browser() -> TestClient:
    app = FastAPI()
    app.include_router(router)
    return TestClient(app)


@pytest.mark.parametrize("kind", ["datasets", "models"])
def test_a_form_reaches_the_api_as_it_was_sent(api: StubApi, browser: TestClient, kind: str) -> None:
    api.answers[f"/{kind}"] = 201, {"id": "x_1"}
    answer = browser.post(f"/upload/{kind}", data={"name": "birds"}, files={"file": ("a.zip", b"bytes")})
    assert (answer.status_code, answer.json()) == (201, {"id": "x_1"})
    assert api.asked == [f"POST /{kind}"]
    assert b'name="name"\r\n\r\nbirds' in api.body
    assert b'filename="a.zip"' in api.body


def test_a_refusal_of_the_api_reaches_the_browser(api: StubApi, browser: TestClient) -> None:
    problem = {"title": "Invalid input", "status": 422, "errors": [{"pointer": "/classes", "detail": "two"}]}
    api.answers["/models"] = 422, problem
    answer = browser.post("/upload/models", files={"file": ("a.safetensors", b"bytes")})
    assert (answer.status_code, answer.json()) == (422, problem)


def test_an_api_that_is_down_is_named(browser: TestClient) -> None:
    connect("http://127.0.0.1:9")
    answer = browser.post("/upload/datasets", files={"file": ("a.zip", b"bytes")})
    assert answer.status_code == 502
    assert "Nothing answers at http://127.0.0.1:9" in answer.json()["detail"]


def test_an_image_is_kept_for_its_page(api: StubApi, browser: TestClient) -> None:
    answer = browser.post("/upload/image?filename=a.png", content=b"pixels")
    assert dropped_images.take(answer.json()["token"]) == DroppedImage("a.png", b"pixels")


def test_an_image_that_is_too_large_is_refused(api: StubApi, browser: TestClient) -> None:
    answer = browser.post("/upload/image", content=bytes(LARGEST_IMAGE + 1))
    assert (answer.status_code, answer.json()["detail"]) == (
        413,
        "This image is too large: the limit is 34\u00a0MB.",
    )
    assert dropped_images.size == 0


def test_an_image_needs_a_key_that_may_predict(api: StubApi, browser: TestClient) -> None:
    api.answers["/keys/self"] = 200, {"scopes": ["read"]}
    answer = browser.post("/upload/image", content=b"pixels")
    message = "This needs the scope predict; you have read."
    assert (answer.status_code, answer.json()) == (403, {"detail": message})
    api.answers["/keys/self"] = 401, NO_KEY
    assert browser.post("/upload/image", content=b"pixels").status_code == 401
