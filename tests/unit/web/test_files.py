"""Keys in a cookie; files of the API, passed on."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request

from tests.support.stub_api import stub_api
from web.files import FOREVER, router
from web.transport.connection import KEY_COOKIE, connect, key_of


@pytest.fixture
def browser() -> TestClient:
    app = FastAPI()
    app.include_router(router)
    return TestClient(app, follow_redirects=False)


def test_a_key_is_stored_and_deleted(browser: TestClient) -> None:
    kept = browser.post("/key", data={"key": " mt_abc ", "next": "/jobs"})
    assert (kept.status_code, kept.headers["location"]) == (303, "/jobs")
    assert browser.cookies[KEY_COOKIE] == "mt_abc"
    browser.post("/key", data={"key": ""})
    assert KEY_COOKIE not in browser.cookies


def test_a_key_redirects_to_the_requested_address(browser: TestClient) -> None:
    wanted = "/new?kind=evaluate&model=mdl_1"
    kept = browser.post("/key", data={"key": "mt_abc", "next": wanted})
    assert kept.headers["location"] == wanted
    refused = browser.post("/key", data={"key": "schlüssel", "next": wanted})
    assert refused.headers["location"] == f"{wanted}&unsendable"


@pytest.mark.parametrize("key", ["schlüssel", "mt_abc…", "mt\x00abc", "mt_\u200babc", "a\r\nb"])
def test_a_key_that_cannot_be_sent_is_not_stored(browser: TestClient, key: str) -> None:
    """Every page would fail with it, and none would be left to forget it on."""
    refused = browser.post("/key", data={"key": key, "next": "/jobs"})
    assert (refused.status_code, refused.headers["location"]) == (303, "/jobs?unsendable")
    assert "set-cookie" not in refused.headers


def test_a_stored_key_that_cannot_be_sent_is_ignored() -> None:
    cookie = f'{KEY_COOKIE}="schl\\374ssel"'.encode()
    assert key_of(Request({"type": "http", "headers": [(b"cookie", cookie)]})) is None


@pytest.mark.parametrize(
    "path", ["/datasets/ds_1/samples/3/image", "/jobs/job_1/report/pictures/7-image.png"]
)
def test_a_picture_of_the_api_is_passed_on(browser: TestClient, path: str) -> None:
    with stub_api() as api:
        api.answers[path] = 200, b"pixels"
        connect(api.url)
        answer = browser.get(f"/files{path}")
    assert (answer.content, answer.headers["content-type"]) == (b"pixels", "application/json")
    assert answer.headers["cache-control"] == FOREVER["Cache-Control"]


def test_the_list_of_samples_is_passed_on_as_a_table(browser: TestClient) -> None:
    with stub_api() as api:
        api.answers["/datasets/ds_1/samples"] = 200, b"path\r\n"
        connect(api.url)
        answer = browser.get("/files/datasets/ds_1/samples?split=test&path=x")
    assert answer.content == b"path\r\n"
    assert "text/csv" in dict(api.headers).values()


def test_a_bundle_has_the_policy_of_its_link(browser: TestClient) -> None:
    policy = "format=bundle&max_risk=0.05&risk_confidence=0.99"
    with stub_api() as api:
        api.answers["/models/mdl_1/download"] = 200, b"a zip"
        connect(api.url)
        assert browser.get(f"/files/models/mdl_1/download?{policy}").content == b"a zip"
    assert api.query == policy


def test_a_script_gets_the_refusal_of_the_api_as_json(browser: TestClient) -> None:
    with stub_api() as api:
        api.answers["/models/mdl_1/download"] = 404, {"title": "No", "status": 404, "detail": "no such model"}
        connect(api.url)
        answer = browser.get("/files/models/mdl_1/download")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not found: No such model"})


@pytest.mark.parametrize("id", ["..", "%2e%2e", "a%3Fb", "a%23b"])
def test_no_address_leads_to_another_path_of_the_api(browser: TestClient, id: str) -> None:
    with stub_api() as api:
        connect(api.url)
        assert browser.get(f"/files/models/{id}/download").status_code in (404, 422)
    assert api.asked == []
