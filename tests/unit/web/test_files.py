"""What is handed on, and how: uploads that are kept for a moment, names, kinds of images."""

from __future__ import annotations

import pytest

from web.files import Dropped, Shelf, harmless_name, media_type


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
