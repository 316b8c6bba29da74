"""A service on threads of this process: its API behind a real socket, and a worker that has no children."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from app.main import create_app
from app.server.connection import Connection
from app.server.server import Server
from tests.support.jobs.bench import opened_runtime
from tests.support.jobs.inline import run_inline
from tests.support.waits import wait_until


@contextmanager
def inline_service(data_dir: Path, **settings: Any) -> Iterator[str]:
    """The address of a service on this data folder, which ends with the block."""
    ended = threading.Event()
    with opened_runtime(data_dir, engine="torch", **settings) as runtime, ThreadPoolExecutor() as pool:
        app = create_app(runtime.settings)
        config = uvicorn.Config(app, http=Connection, log_config=None, access_log=False)
        server = Server(config, app)

        def work() -> None:
            while not ended.wait(0.02):
                run_inline(runtime)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            parts = [pool.submit(server.run, sockets=[listener]), pool.submit(work)]
            for part in parts:  # no client waits for the one when the other has failed
                part.add_done_callback(lambda _: server.handle_exit(signal.SIGTERM, None))
            try:
                wait_until(lambda: server.started or parts[0].done())
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                ended.set()
                for part in reversed(parts):
                    part.result()
