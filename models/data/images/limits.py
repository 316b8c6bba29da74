"""How large an image may be, and the error that says why bytes are not a usable one."""

from __future__ import annotations

from dataclasses import dataclass

from models.data.report import FileCode


class ImageError(Exception):
    """The bytes are not a usable image."""

    def __init__(self, code: FileCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class ImageLimits:
    """Limits of one image. Sides and pixels are checked in the header, before anything is decoded."""

    max_bytes: int = 64 << 20
    max_pixels: int = 50_000_000
    min_side: int = 8  # pixels


STORED = ImageLimits(max_bytes=1 << 62, max_pixels=1 << 62, min_side=1)
"""For the images of a store: they were checked at import, under limits that may have changed since."""


def require_size(size: tuple[int, int], limits: ImageLimits) -> None:
    """Check a width and a height. Raises `ImageError`."""
    width, height = size
    if width * height > limits.max_pixels:
        raise ImageError(
            FileCode.PIXEL_BOMB,
            f"has {width}×{height} pixels, more than the limit of {limits.max_pixels}: scale it down",
        )
    if min(size) < limits.min_side:
        raise ImageError(
            FileCode.TOO_SMALL,
            f"has {width}×{height} pixels, and needs at least {limits.min_side} on each side: leave it out",
        )
