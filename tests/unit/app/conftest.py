"""Tests of coroutines."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """What coroutines that are tests run on."""
    return "asyncio"
