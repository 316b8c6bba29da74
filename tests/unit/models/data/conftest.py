"""Small images and folders of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeImage = Callable[..., bytes]
MakeTree = Callable[[Mapping[str, bytes | str]], Path]


@pytest.fixture
def make_image() -> MakeImage:
    """A function that encodes an image whose pixels depend only on `seed`."""

    def make(
        seed: int = 0,
        *,
        size: tuple[int, int] = (16, 12),
        mode: str = "RGB",
        format: str = "PNG",
        **options: object,
    ) -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(noise).convert(mode).save(buffer, format, **options)
        return buffer.getvalue()

    return make


@pytest.fixture
def make_tree(tmp_path: Path) -> MakeTree:
    """A function that creates a folder with these files; a name ending in a slash is an empty folder."""

    def make(files: Mapping[str, bytes | str]) -> Path:
        root = tmp_path / "tree"
        root.mkdir(exist_ok=True)
        for name, content in files.items():
            path = root / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return root

    return make
