"""More requests at once than there are threads and connections of the database: each gets its answer."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.integration.app.conftest import Listen

CROWD = 90
"""Threads (40) and connections (40) together are fewer."""


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_nobody_waits_for_a_thread_with_a_connection_in_hand(listen: Listen, database_url: str) -> None:
    """Those who have a thread would wait for a connection meanwhile, until all of them give up (30 s)."""
    server = listen(database_url=database_url)
    job = f"/jobs/{server.job()}"

    async def ask(path: str) -> bytes:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        return answer[9:12]

    async def crowd(path: str) -> Counter[bytes]:
        return Counter(await asyncio.gather(*(ask(path) for _ in range(CROWD))))

    for path in (job, f"{job}/events", "/jobs"):
        assert asyncio.run(crowd(path)) == {b"200": CROWD}, path
