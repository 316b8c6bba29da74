"""The service and the folder for the documentation's commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from urllib.request import Request, urlopen

from tests.support.brokers import redis_server
from tests.support.databases import postgres_database
from tests.support.docs.console import Reader
from tests.support.machine import needs
from tests.support.processes import MARK, ROOT, Processes, address, started
from tests.support.servers import free_port

KEY = "the-key-of-the-documentation"
NOWHERE = "http://127.0.0.1:9"
BUCKETS = ("bucket", "masktune", "images")
"""Buckets that the pages name."""
NOTEBOOK = """# Stands for a notebook, which shows what it is given.
from typing import Any


class HTML:
    def __init__(self, data: str) -> None:
        assert "</html>" in data


class Image:
    def __init__(self, data: bytes) -> None:
        assert data.startswith(b"\\x89PNG")


class SVG:
    def __init__(self, data: str) -> None:
        assert data.startswith("<svg")


def display(shown: Any) -> None:
    print(type(shown).__name__)
"""


@contextmanager
def reading(folder: Path, *, key: str | None = KEY, serves: bool = True) -> Iterator[Reader]:
    """A reader in `folder`, which holds the examples and, if it `serves`, the data folder `var` of a running
    service.

    With a key, both the service and the reader's shell have it, so the pages need not mention it.
    """
    needs("bash and curl")
    keys = {} if key is None else {"API_KEYS": f"admin:{key}"}
    _furnish(folder)
    with ExitStack() as stack:
        processes = stack.enter_context(started(Processes(folder)))
        # The tutorial's own command except for the port: its data folder is `var` in the current folder.
        url = address(processes.masktune("serve", PORT="0", **keys)) if serves else NOWHERE
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MASKTUNE_")}
        environment = {
            "HOME": str(folder / "home"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(
                filter(None, (os.environ.get("PYTHONPATH"), str(ROOT), str(folder / "notebook")))
            ),
            "MASKTUNE_URL": url,
            "OMP_NUM_THREADS": "2",
            MARK: processes.mark,
        }
        if key is not None:
            environment["MASKTUNE_KEY"] = key
        where = url.removeprefix("http://")
        reader = Reader(folder, ours | environment, where, _stand_ins(stack, folder, where))
        stack.callback(reader.turn_the_page)
        yield reader


def _furnish(folder: Path) -> None:
    """Create what a reader has: a home, the checkout's files, a notebook."""
    (folder / "home").mkdir()
    (folder / "home/.curlrc").write_text("fail-with-body\nsilent\n")  # an HTTP error fails the command
    (folder / "data").mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "notebook/IPython").mkdir(parents=True)
    (folder / "notebook/IPython/__init__.py").touch()
    (folder / "notebook/IPython/display.py").write_text(NOTEBOOK)


@contextmanager
def _object_store() -> Iterator[dict[str, str]]:
    """Run an S3 server with the pages' buckets. Yields the environment variables that point to it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in BUCKETS:
            urlopen(Request(f"http://{host}:{port}/{name}", method="PUT")).close()
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "anyone",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.stop()


def _stand_ins(stack: ExitStack, folder: Path, service: str) -> Mapping[str, Callable[[], str]]:
    """Local servers and folders in place of those that exist only on the pages."""

    @cache
    def bucket() -> str:
        variables = stack.enter_context(_object_store()).items()
        return " ".join(f"{name}={value}" for name, value in variables)

    @cache
    def broker() -> str:
        (folder / "redis").mkdir()
        return stack.enter_context(redis_server(folder / "redis"))[0]

    @cache
    def team() -> str:
        return stack.enter_context(postgres_database())

    @cache
    def larger() -> str:
        return stack.enter_context(postgres_database())

    return {
        "postgresql+psycopg://masktune:…@db.internal:5432/masktune": team,
        "postgresql+psycopg://…": larger,
        "redis://redis.internal:6379/0": broker,
        "MASKTUNE_STORAGE_URL=": lambda: f"{bucket()} MASKTUNE_STORAGE_URL=",
        "http://api:8000": lambda: f"http://{service}",
        "--port 8080": lambda: f"--port {free_port()}",
        "file:///data/": lambda: f"file://{folder}/data/",
        " /data/": lambda: f" {folder}/data/",
        "=…": lambda: "=anything",
        "admin:…": lambda: f"admin:{KEY}",
    }
