"""What is left of an upload whose client leaves."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from app.datasets.uploads import receive_upload
from app.operations.metrics import Metrics

SECONDS = 5.0
"""That a fault of the code would cost."""


def test_what_was_taken_is_removed_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To remove 20 GiB takes most of a second, and everybody else would wait for it. Ended twice, it is
    removed all the same: a server that stops does not ask again."""
    removes, may, remove = threading.Event(), threading.Event(), shutil.rmtree
    allowed: list[bool] = []

    def slow(folder: Path, **options: Any) -> None:
        removes.set()
        allowed.append(may.wait(SECONDS))  # which only a loop that goes on can do
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", slow)

    async def never() -> Message:
        return await asyncio.Future()

    async def take() -> None:
        kind = b"multipart/form-data; boundary=b"
        request = Request({"type": "http", "headers": [(b"content-type", kind)]}, never)
        async with receive_upload(request, tmp_path, metrics=Metrics()):
            raise AssertionError("it never arrives")

    async def end_twice() -> None:
        taking = asyncio.create_task(take())
        while not list(tmp_path.glob("uploads/*/archive")):
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.to_thread(removes.wait, SECONDS)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        may.set()

    asyncio.run(end_twice())
    assert allowed == [True]
    assert list(tmp_path.glob("uploads/*")) == []
