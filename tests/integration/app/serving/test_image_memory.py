"""What the images of requests take: memory only for whole bodies that will be answered, and so much of it."""

from __future__ import annotations

import asyncio
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.integration.app.serving.conftest import PNG, World, furnished, picture

MiB = 2**20
FORM = {"Content-Type": "multipart/form-data; boundary=cut"}
_CHUNK = b"x" * 65_536


async def _body(images: int, size: int) -> AsyncIterator[bytes]:
    """A form of images that are none, piece by piece: the sender keeps one piece alone."""
    for number in range(images):
        head = f'--cut\r\nContent-Disposition: form-data; name="file"; filename="{number}.png"\r\n\r\n'
        yield head.encode()
        for _ in range(size // len(_CHUNK)):
            yield _CHUNK
        yield b"\r\n"
    yield b"--cut--\r\n"


async def _raw(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // len(_CHUNK)):
        yield _CHUNK


@pytest.mark.parametrize("path", ["/predict", "/saliency"])
def test_images_for_a_model_that_is_not_there_never_come_into_memory(world: World, path: str) -> None:
    async def run() -> None:
        async with world.http() as http:

            async def ask(number: int) -> int:
                body, headers = (_raw(16 * MiB), PNG) if number else (_body(4, 8 * MiB), FORM)
                answer = await http.post(path, params={"model": "nosuch"}, content=body, headers=headers)
                return answer.status_code

            await ask(0)  # what the first one loads is kept
            tracemalloc.start()
            try:
                assert await asyncio.gather(*map(ask, (0, 0, 0, 1, 1))) == [404] * 5
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert most < 24 * MiB  # of the 128 that were sent

    world.in_the_loop(run)


def test_large_bodies_gather_in_the_scratch_folder(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's folder for temporary files may be small, or memory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    large = picture(1, side=900)
    assert len(large) > MiB
    files = [("file", ("a.png", large)), ("file", ("b.png", picture(2)))]
    form = world.client.post("/predict", params={"model": world.model}, files=files)
    raw = world.post(large)
    assert (form.status_code, raw.status_code) == (200, 200)
    assert form.json()["predictions"][0]["label"] == raw.json()["predictions"][0]["label"]


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[World]:
    """A world that holds 200 kB of images at a time."""
    with furnished(tmp_path, max_image_bytes=150_000, predict_image_bytes=200_000) as world:
        yield world


def test_images_beyond_the_memory_for_them_are_a_503_until_others_are_answered(narrow: World) -> None:
    world, image = narrow, picture(1, side=200)
    assert 100_000 < len(image) < 150_000

    async def run() -> None:
        async with world.http() as http:

            async def ask(path: str = "/predict") -> httpx2.Response:
                params = {"model": world.model}
                return await http.post(path, params=params, content=image, headers=PNG)

            inference = world.services.inference
            with inference.admitted(1, len(image)):
                for path in ("/predict", "/saliency"):
                    refused = await ask(path)
                    assert (refused.status_code, refused.json()["type"]) == (503, "/problems/overloaded")
                    assert int(refused.headers["Retry-After"]) >= 1
            assert [(await ask(path)).status_code for path in ("/predict", "/saliency")] == [200, 200]
            assert inference.admission.held_bytes == 0

    world.in_the_loop(run)
