"""`masktune api` told to stop: what it has accepted is answered, and then it ends with exit code 0."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from core.settings import Settings
from tests.integration.app.serving.conftest import _furnished, picture

CLIENTS, IMAGES = 3, 64


@contextmanager
def _api(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"MASKTUNE_DATA_DIR": str(folder), "MASKTUNE_PORT": str(port), "MASKTUNE_ENGINE": "torch"}
    process = subprocess.Popen([sys.executable, "-m", "cli", "api"], env=os.environ | given)
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _await(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"{address}/livez").raise_for_status()
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@pytest.mark.slow
def test_sigterm_under_load_loses_no_answer(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path, threads=1, engine="torch"))
    with TestClient(app) as client:
        world = _furnished(client, app)
    files = [("file", (f"{n}.png", picture(n % 6, side=400))) for n in range(IMAGES)]
    with _api(tmp_path) as (process, address), ThreadPoolExecutor(CLIENTS) as threads, httpx.Client() as eye:
        _await(address)

        def ask(_: int) -> int:
            answer = httpx.post(f"{address}/predict", params={"model": world.model}, files=files, timeout=60)
            assert len(answer.json()["predictions"]) == IMAGES
            return answer.status_code

        assert ask(0) == 200  # loaded
        asked = [threads.submit(ask, n) for n in range(CLIENTS)]
        # All of them, and the request for the metrics itself.
        while f"masktune_requests_in_flight {CLIENTS + 1}.0" not in eye.get(f"{address}/metrics").text:
            assert not any(one.done() for one in asked), "the service was too quick for this test"
        process.send_signal(signal.SIGTERM)
        assert [one.result(60) for one in asked] == [200] * CLIENTS
        assert process.wait(60) == 0
