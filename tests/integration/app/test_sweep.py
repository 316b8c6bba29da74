"""The front's sweep goes on, whatever meets it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

from sqlalchemy.orm import Session

from app.operations.background import in_background, sweep_periodically
from core.session import Database
from tests.integration.app.conftest import Front
from tests.support.waits import wait_until


class Broken(Database):
    """A database with an error that nobody foresaw."""

    begun = 0

    @contextmanager
    def begin(self) -> Iterator[Session]:
        self.begun += 1
        with super().begin() as session:
            yield session
        raise RuntimeError("broken")


def test_it_goes_on_after_an_error_that_nobody_foresaw(front: Front) -> None:
    often = front.settings.model_copy(update={"sweep_seconds": 0.02})

    async def sweep_until_begun_twice(broken: Broken) -> None:
        async with in_background(sweep_periodically(broken, often)):
            await asyncio.to_thread(wait_until, lambda: broken.begun > 1)

    with closing(Broken(front.settings.database)) as broken:
        asyncio.run(sweep_until_begun_twice(broken))
