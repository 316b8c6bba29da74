"""The bodies that `POST /predict` takes, and the images that it refuses."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from anyio import to_thread

from tests.integration.app.serving.conftest import PNG, World, picture


def test_one_raw_image_and_a_form_of_several_agree(world: World) -> None:
    images = [picture(n) for n in (4, 5, 6)]
    files = [(name, (f"{name}.png", data)) for name, data in zip("abc", images, strict=True)]
    together = world.client.post("/predict", params={"model": world.model}, files=files).json()["predictions"]
    assert len(together) == 3
    for number, data in enumerate(images):
        alone = world.post(data).json()["predictions"][0]
        stored = world.ask(sample=4 + number)["predictions"][0]
        assert alone == stored
        assert together[number]["label"] == alone["label"]
        assert together[number]["score"] == pytest.approx(alone["score"], abs=1e-6)


def test_the_audit_log_has_no_predictions(world: World) -> None:
    for path in ("/predict", "/saliency"):
        assert world.post(picture(4), path).status_code == 200
    assert world.client.get("/audit").json()["data"] == []


BAD: dict[str, tuple[bytes, str]] = {
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "not_an_image"),
    "html": (b"<!doctype html><html><body>hello</body></html>", "not_an_image"),
    "empty": (b"", "empty_file"),
    "truncated": (picture(1)[:200], "truncated"),
    "jpeg called png": (picture(1, kind="JPEG"), "mislabelled"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_named(world: World, name: str) -> None:
    data, code = BAD[name]
    files = [("file", ("good.png", picture(0))), ("file", ("bad.png", data))]
    refusal = world.client.post("/predict", params={"model": world.model}, files=files)
    assert refusal.status_code == 422
    problem = refusal.json()
    assert problem["type"].endswith("bad-image")
    (fault,) = problem["errors"]
    assert fault["pointer"] == "/images/1"
    assert fault["code"].replace("-", "_") == code
    assert "bad.png" in fault["detail"]


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_another_kind_of_body_is_415(world: World, kind: str) -> None:
    refusal = world.client.post(
        "/predict", params={"model": world.model}, content=b"{}", headers={"Content-Type": kind}
    )
    assert refusal.status_code == 415


def test_bodies_that_are_no_form_of_images_are_422(world: World) -> None:
    query = {"model": world.model}
    garbled, unbounded = (
        world.client.post("/predict", params=query, content=b"xx", headers={"Content-Type": kind})
        for kind in ("multipart/form-data; boundary=b", "multipart/form-data")
    )
    files = {"file": picture(0)}
    with_text = world.client.post("/predict", params=query, files=files, data={"coverage": "0.5"})
    nothing = world.post(b"")
    assert [answer.status_code for answer in (garbled, unbounded, with_text, nothing)] == [422] * 4
    assert with_text.json()["errors"][0]["pointer"] == "/coverage"


def test_slow_requests_of_other_kinds_do_not_take_the_threads_of_predictions(fresh_world: World) -> None:
    portal, done = fresh_world.client.portal, threading.Event()
    assert portal is not None

    async def threads() -> int:
        return int(to_thread.current_default_thread_limiter().total_tokens)

    async def slow() -> None:
        await to_thread.run_sync(done.wait)

    async def ask() -> int:
        async with fresh_world.http() as http:
            answer = await http.post(
                "/predict", params={"model": fresh_world.model}, content=picture(1), headers=PNG
            )
            return answer.status_code

    # As many as there are threads: uploads on their way to a slow store, imports of models, exports.
    held = [portal.start_task_soon(slow) for _ in range(portal.call(threads))]
    try:
        asked = portal.start_task_soon(ask)
        assert asked.result(30) == 200
    finally:
        done.set()
        for one in held:
            one.result(10)


def test_certificates_do_not_take_the_threads_of_predictions(fresh_world: World) -> None:
    portal, done = fresh_world.client.portal, threading.Event()
    assert portal is not None
    certificates = fresh_world.services.predictions.certificates

    async def certify() -> None:
        await to_thread.run_sync(done.wait, limiter=certificates)

    async def ask(**policy: float) -> int:
        query = {"model": fresh_world.model} | policy
        async with fresh_world.http() as http:
            return (await http.post("/predict", params=query, content=picture(1), headers=PNG)).status_code

    held = [portal.start_task_soon(certify) for _ in range(int(certificates.total_tokens))]
    try:
        promised = [portal.start_task_soon(partial(ask, max_risk=0.01 + n / 1000)) for n in range(30)]
        for policy in ({}, {"coverage": 0.5}, {"min_score": 0.5}):
            assert portal.start_task_soon(partial(ask, **policy)).result(30) == 200
        assert not any(one.done() for one in promised)
    finally:
        done.set()
    assert {one.result(30) for one in promised} == {200}
    assert {one.result(30) for one in held} == {None}
