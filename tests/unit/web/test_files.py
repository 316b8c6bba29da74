"""Kinds of images, by their first bytes."""

from __future__ import annotations

import pytest

from web.files import media_type


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
