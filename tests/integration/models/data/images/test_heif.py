"""HEIC: decoded like any photograph, and stored as PNG."""

from __future__ import annotations

import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from models.data.images.checks import check_image, decode_image
from models.data.images.limits import ImageLimits
from models.data.importing.datasets import import_dataset
from models.data.report import FileCode, Rejection
from models.data.store import Store
from tests.unit.models.data.conftest import MakeTree


def photograph(seed: int = 0, size: tuple[int, int] = (64, 48), copies: int = 1) -> bytes:
    """A smooth picture, which the lossy coder keeps nearly as it is."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    file = pillow_heif.from_pillow(picture)
    for _ in range(copies - 1):
        file.add_from_pillow(picture)
    buffer = BytesIO()
    file.save(buffer, quality=95)
    return buffer.getvalue()


def refusal(content: bytes, limits: ImageLimits | None = None) -> Rejection:
    rejection = check_image(content, "a.heic", limits)
    assert isinstance(rejection, Rejection), rejection
    return rejection


def test_it_is_decoded_to_rgb() -> None:
    picture = decode_image(photograph())
    assert (picture.type, picture.image.mode, picture.image.size) == ("HEIF", "RGB", (64, 48))
    assert np.asarray(picture.image).std() > 20


def test_of_several_pictures_the_main_one_counts() -> None:
    assert np.array_equal(
        np.asarray(decode_image(photograph(copies=2)).image), np.asarray(decode_image(photograph()).image)
    )


def test_its_bounds_are_those_of_other_types() -> None:
    assert refusal(photograph(), ImageLimits(max_pixels=1000)).code is FileCode.PIXEL_BOMB
    assert refusal(photograph(), ImageLimits(max_bytes=100)).code is FileCode.TOO_LARGE


def test_a_damaged_file_is_rejected() -> None:
    content = photograph()
    for length in (16, 100, len(content) // 2, len(content) - 1):
        assert refusal(content[:length]).code in (FileCode.UNDECODABLE, FileCode.TRUNCATED)


def test_without_the_extra_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    content = photograph()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    rejection = refusal(content)
    assert rejection.code is FileCode.UNSUPPORTED_TYPE
    assert "whose wheels hold GPL code: pip install 'masktune-service[heic]'" in rejection.detail


def test_a_store_keeps_its_pixels_as_png(make_tree: MakeTree, tmp_path: Path) -> None:
    files = {f"{'cat' if n % 2 else 'dog'}/{n}.heic": photograph(n) for n in range(10)}
    report = import_dataset(make_tree(files), tmp_path / "ds")
    assert report.state == "ready"
    store = Store.open(tmp_path / "ds")
    sample = store.sample(0)
    stored = decode_image(store.image_bytes(0))
    assert (stored.type, sample.path.endswith(".heic.png")) == ("PNG", True)
    original = decode_image(files[sample.path.removesuffix(".png")])
    assert np.array_equal(np.asarray(stored.image), np.asarray(original.image))
