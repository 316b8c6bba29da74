"""The front's sweep goes on, whatever meets it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app.services.sweeping import swept
from core.queue import Doorbell
from tests.integration.app.conftest import StartFront


class Broken(Doorbell):
    """A doorbell with an error that nobody foresaw."""

    rung = 0

    def ring_again(self, job_ids: Sequence[str]) -> None:
        self.rung += 1
        raise RuntimeError("broken")


def test_it_goes_on_after_an_error_that_nobody_foresaw(start: StartFront, wait_until: Any) -> None:
    front = start()
    doorbell = Broken(front.settings.broker)
    often = front.settings.model_copy(update={"sweep_seconds": 0.02, "reannounce_seconds": 0.01})
    front.job()

    async def sweep_until_rung_twice() -> None:
        async with swept(replace(front.services, doorbell=doorbell, settings=often)):
            await asyncio.to_thread(wait_until, lambda: doorbell.rung > 1, 15)

    asyncio.run(sweep_until_rung_twice())
    doorbell.close()
