"""Images that visitors drop take a bounded amount of room, and none of it for longer than a minute."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from web.transport.dropped_images import (
    LARGEST_IMAGE,
    DroppedImage,
    DroppedImages,
    ImageTooLarge,
    TooManyImages,
)

MEGABYTE = bytes(1 << 20)


async def sent(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def unfinished(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    await asyncio.Event().wait()


async def until_gone(images: DroppedImages) -> None:
    while images.size:
        await asyncio.sleep(0.01)


def open_files() -> int:
    """Files of this process that are on disk and have no name, as spooled ones have."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.endswith("(deleted)") for link in links)


def test_an_image_is_taken_once() -> None:
    async def run() -> None:
        images = DroppedImages()
        token = await images.receive("a.png", sent(b"1", b"2"))
        assert images.size == 2
        assert images.take(token) == DroppedImage("a.png", b"12")
        assert images.take(token) is None
        assert images.size == 0

    asyncio.run(run())


def test_a_large_image_is_on_disk_and_comes_back_whole() -> None:
    async def run() -> None:
        images, before = DroppedImages(), open_files()
        token = await images.receive("a.png", sent(b"head", MEGABYTE, MEGABYTE))
        assert open_files() == before + 1
        image = images.take(token)
        assert image is not None
        assert image.content == b"head" + 2 * MEGABYTE
        assert open_files() == before

    asyncio.run(run())


def test_unfinished_images_are_bounded_in_sum_and_gone_after_a_while() -> None:
    """Forty of 31 MiB held 1.5 GB for as long as their senders liked."""

    async def run() -> None:
        images = DroppedImages(most_bytes=4 << 20, seconds=0.5)
        tasks = [
            asyncio.create_task(images.receive("a.png", unfinished(MEGABYTE, MEGABYTE))) for _ in range(4)
        ]
        done, _ = await asyncio.wait(tasks)
        assert {type(task.exception()) for task in done} == {TooManyImages, TimeoutError}
        assert images.size == 0
        await images.receive("a.png", sent(MEGABYTE))

    asyncio.run(run())


def test_images_are_bounded_in_number() -> None:
    async def run() -> None:
        images = DroppedImages(most_images=2)
        tokens = [await images.receive("a.png", sent(b"1")) for _ in range(2)]
        with pytest.raises(TooManyImages):
            await images.receive("a.png", sent(b"1"))
        images.take(tokens[0])
        await images.receive("a.png", sent(b"1"))

    asyncio.run(run())


def test_an_image_that_no_page_asks_for_is_gone_after_a_while() -> None:
    async def run() -> None:
        images = DroppedImages(seconds=0.1)
        token = await images.receive("a.png", sent(b"1"))
        await until_gone(images)
        assert images.take(token) is None

    asyncio.run(run())


def test_an_image_that_is_refused_or_cut_off_takes_no_room() -> None:
    async def cut_off() -> AsyncIterator[bytes]:
        yield b"1"
        raise ConnectionError

    async def run() -> None:
        images = DroppedImages()
        with pytest.raises(ImageTooLarge):
            await images.receive("a.png", sent(bytes(LARGEST_IMAGE), b"1"))
        with pytest.raises(ConnectionError):
            await images.receive("a.png", cut_off())
        assert images.size == 0

    asyncio.run(run())
