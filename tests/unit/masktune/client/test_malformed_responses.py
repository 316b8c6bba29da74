"""What this service never answers, and what cannot be sent to it: a `ClientError`, and nothing else."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from masktune import AsyncClient, Client, Job, NotSent, ProblemError, UnexpectedAnswer
from masktune.client.calls import call, create, fetch, get, pages
from masktune.client.datasets import delete_dataset, get_dataset, upload_dataset
from masktune.client.events import follow
from masktune.client.jobs import get_job, start
from masktune.client.keys import revoke_key
from masktune.client.models import delete_model, download_model, get_model, import_model, set_alias
from masktune.client.predict import predict_images
from masktune.client.wire import Flow
from tests.support.answers import ANSWER, DATASET, MODEL
from tests.support.machine import lacks
from tests.unit.masktune.client.conftest import Chunks, Runner, Script, blocking, job


def _unreadable(status: int) -> httpx2.Response:
    return httpx2.Response(status, headers={"Content-Encoding": "gzip"}, stream=Chunks(b"not gzip"))


@pytest.mark.parametrize("status", [200, 403])
def test_a_body_that_cannot_be_decoded_is_unexpected(runner: Runner, status: int) -> None:
    script = Script([_unreadable(status)])
    with pytest.raises(UnexpectedAnswer, match="the answer to GET /jobs/job_1 cannot be decoded"):
        runner.run(script, get_job("job_1"))
    assert len(script.asked) == 1


def test_a_download_that_cannot_be_decoded_leaves_no_file(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(UnexpectedAnswer, match="cannot be decoded"):
        runner.run(Script([_unreadable(200)]), download_model("best", tmp_path / "m.safetensors"))
    assert list(tmp_path.iterdir()) == []


def test_events_that_cannot_be_decoded_are_unexpected(runner: Runner) -> None:
    with pytest.raises(UnexpectedAnswer, match="cannot be decoded"):
        runner.all(Script([_unreadable(200)]), follow("job_1"))


def test_a_page_in_place_of_json_is_named_in_a_line(runner: Runner) -> None:
    script = Script([httpx2.Response(200, html="<html>a page</html>")])
    with pytest.raises(UnexpectedAnswer) as caught:
        runner.run(script, call(get("/jobs/job_1"), Job))
    assert str(caught.value) == (
        "GET /jobs/job_1 did not return a Job: the body is text/html, not JSON; another program may be "
        "answering at this address"
    )


def test_fields_that_are_missing_are_named_in_a_line(runner: Runner) -> None:
    script = Script([httpx2.Response(200, json={"id": "x", "state": "odd"})])
    with pytest.raises(UnexpectedAnswer) as caught:
        runner.run(script, call(get("/jobs/job_1"), Job))
    assert re.fullmatch(r"[^\n]*: kind: Field required; state: Input should be [^\n]*", str(caught.value))


@pytest.mark.parametrize("text", ["²", "inf", "-1", "Wed, 21 Oct 99999 07:28:00 GMT"])
def test_a_retry_after_that_is_none_is_passed_over(text: str) -> None:
    away = httpx2.Response(503, headers=[(b"Retry-After", text.encode())])
    with blocking(Script([away, httpx2.Response(200, json=job())])) as client:
        assert client.jobs.get("job_1").id == "job_1"


def test_a_list_that_leads_back_to_itself_ends(runner: Runner) -> None:
    page = {"data": [job()], "next_cursor": "again"}
    script = Script([httpx2.Response(200, json=page) for _ in range(3)])
    with pytest.raises(UnexpectedAnswer, match="returned the cursor that it was sent"):
        runner.all(script, pages(get("/jobs"), Job))
    assert len(script.asked) == 2


BY_ID: list[tuple[Callable[[str], Flow[Any]], str]] = [
    (get_job, "/jobs/"),
    (get_dataset, "/datasets/"),
    (delete_dataset, "/datasets/"),
    (get_model, "/models/"),
    (delete_model, "/models/"),
    (revoke_key, "/keys/"),
    (lambda name: set_alias(name, "mdl_1"), "/aliases/"),
    (start, "/jobs/"),
]


def _asked_by(flow: Flow[Any]) -> httpx2.URL:
    """The address of the request that the flow sends."""
    script = Script([httpx2.Response(404)])
    with blocking(script) as client, pytest.raises(ProblemError):
        client.driver.run(flow)
    (asked,) = script.asked
    return asked.url


@pytest.mark.parametrize("id", ["mdl_1?x=1", "mdl_1#x", "../aliases/best", "a/b", "a%2Fb", "a b"])
def test_an_id_is_one_part_of_the_address_whatever_is_in_it(id: str) -> None:
    """Else to delete `mdl_1?` would delete `mdl_1`, and an id from outside could lead anywhere."""
    for flow, path in BY_ID:
        url = _asked_by(flow(id))
        assert (url.path, url.query, url.fragment) == (path + id, b"", "")
        assert url.raw_path.count(b"/") == 2


@pytest.mark.parametrize("id", ["", ".", "..", "\udce4"])
def test_what_is_no_id_is_not_sent(id: str) -> None:
    for flow, _ in BY_ID:
        with pytest.raises(NotSent, match="is not an id"):
            next(flow(id))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800"])
def test_what_json_cannot_hold_is_not_sent(runner: Runner, value: object) -> None:
    with pytest.raises(NotSent, match="POST /jobs/erm cannot be sent"):
        runner.run(Script([]), call(create("/jobs/erm", json={"epochs": value}), Job))


@pytest.mark.parametrize(
    "url", ["foo", "localhost:8000", "ftp://foo", "", "http://", "http://a:b", "http://é:x"]
)
def test_an_address_that_is_none_is_told_at_once(url: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(NotSent, match="is not an address"):
            kind(url)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_the_certificate_of_an_authority_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    for kind in (Client, AsyncClient):
        with pytest.raises(NotSent, match="holds no certificate"):
            kind("https://test", ca_file=str(file))
    monkeypatch.setenv("MASKTUNE_CA_FILE", str(file))
    for kind in (Client, AsyncClient):
        with pytest.raises(NotSent, match="holds no certificate"):
            kind("https://test")


def test_a_certificate_of_an_unknown_authority_is_told_at_once(runner: Runner) -> None:
    script = Script([httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")])
    with pytest.raises(NotSent, match="MASKTUNE_CA_FILE"):
        runner.run(script, fetch(get("/jobs")))
    assert len(script.asked) == 1


def _named(folder: Path, name: bytes) -> Path:
    """A file whose name is no UTF-8, as of an old archive."""
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    try:
        path.write_bytes(b"PK\x03\x04")
    except OSError:
        lacks("names in bytes")
    return path


def test_a_name_that_is_no_utf_8_is_read_as_latin_1(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "beetles/a").mkdir(parents=True)
    _named(tmp_path / "beetles/a", b"K\xe4fer.jpg")
    _named(tmp_path / "beetles/a", "Käfer 2.jpg".encode())
    script = Script([httpx2.Response(202, json=DATASET)])
    runner.run(script, upload_dataset(tmp_path / "beetles"))
    body = script.bodies[0]
    with zipfile.ZipFile(io.BytesIO(body[body.index(b"PK") :])) as archive:
        assert archive.namelist() == ["a/Käfer 2.jpg", "a/Käfer.jpg"]


def test_files_are_sent_under_a_name_that_can_be(runner: Runner, tmp_path: Path) -> None:
    file = _named(tmp_path, b"K\xe4fer.zip")
    flows: list[tuple[Flow[Any], object]] = [
        (upload_dataset(file), DATASET),
        (import_model(file, backbone="b", classes=[], image_size=28), MODEL),
        (predict_images("best", [file]), ANSWER),
    ]
    for flow, said in flows:
        script = Script([httpx2.Response(200, json=said)])
        runner.run(script, flow)
        assert 'filename="Käfer.zip"'.encode() in script.bodies[0]
