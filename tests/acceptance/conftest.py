"""Services for the tests, and where their images get PyTorch from."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Processes, started


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with started(Processes(tmp_path)) as made:
        yield made


def torch_index() -> dict[str, str]:
    """If PyTorch's own index cannot be reached, make the image install torch from the package registry."""
    try:
        socket.create_connection(("download.pytorch.org", 443), timeout=3).close()
    except OSError:
        return {"TORCH_INDEX": ""}
    return {}
