"""`masktune serve`, `api`, `worker`, `migrate`: the only module here that imports the service's own packages.

The imports are inside the functions, so that the client's commands start without them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from launcher import doctor, startup
from launcher.process_manager import Process, ProcessFailed, ProcessManager
from launcher.startup import read_settings
from launcher.web import Dashboard, beside
from masktune.cli.output import USAGE, fail

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp

    from core.settings import Settings


from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.settings import Settings


PYTHON = (sys.executable, "-m", "masktune.cli")

Host = Annotated[str | None, typer.Option(help="Address to listen on [MASKTUNE_HOST, 127.0.0.1].")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port; 0 picks a free one [MASKTUNE_PORT, 8000].")
]
Tied = Annotated[bool, typer.Option("--tied", hidden=True, help="End when standard input ends.")]


def serve(
    host: Host = None,
    port: Port = None,
    data_dir: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for database and artifacts [./var].")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Jobs to run at a time, beside imports [MASKTUNE_WORKER_SLOTS, 1]."),
    ] = None,
    tied: Tied = False,
) -> None:
    """Run the whole service: the API with its dashboard, and one worker. Nothing else to install.

    Everything is kept in one folder. Ctrl-C or SIGTERM stops both.

    A running job goes back to the queue and resumes from its last checkpoint at the next start.
    """
    startup.require_linux()
    settings = read_settings(host=host, port=port, data_dir=data_dir, worker_slots=workers)
    startup.exit_0_on_sigterm()
    if tied:
        startup.end_with_parent()
    startup.migrate(settings)
    doctor.warn_without_card(settings)
    with listen(settings) as listener:
        asyncio.run(_run_until_signal(settings, _service(settings, listener), listener))


def api(
    host: Host = None,
    port: Port = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A socket that listens already.")] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Also serve the dashboard, at / of the same address.")
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that share the address [MASKTUNE_API_PROCESSES, 1]."),
    ] = None,
    tied: Tied = False,
) -> None:
    """Run the API alone. It reaches the workers through the database and the broker of the settings."""
    from app.server.process import prepare_process

    prepare_process()
    settings = read_settings(host=host, port=port, api_processes=processes)
    startup.exit_0_on_sigterm()
    if tied:
        startup.end_with_parent()
    startup.migrate(settings)
    if not tied:  # otherwise the process that started this one checks
        doctor.warn_without_card(settings)
    if settings.api_processes == 1 or fd is not None:
        _api_alone(settings, fd, dashboard=dashboard)
    elif dashboard:
        fail("the dashboard needs a single API process; run it separately with `masktune web`", USAGE)
    else:
        _api_together(settings)


def worker(
    tied: Tied = False,
    check: Annotated[
        bool, typer.Option("--check", help="Start nothing; only check whether a worker could run here.")
    ] = False,
) -> None:
    """Run one worker alone.

    It runs up to MASKTUNE_WORKER_SLOTS jobs at a time and, beside them, up to MASKTUNE_IMPORT_SLOTS imports.
    """
    startup.require_linux()
    settings = read_settings()
    if check:
        return startup.check_parts(settings)
    if tied:
        startup.end_with_parent()
    else:
        doctor.warn_without_card(settings)
    from core.loading import loaded, loading

    with loading():
        from worker.main import main
    loaded()

    startup.upgrade(settings)
    raise typer.Exit(main(settings))


def migrate() -> None:
    """Bring the database up to date. The API and the worker do this themselves when they start."""
    startup.migrate(read_settings())


def _api_alone(settings: Settings, fd: int | None, *, dashboard: bool) -> None:
    """Run the API in this process, on the given socket if there is one."""
    from core.loading import loaded, loading

    listener = socket.socket(fileno=fd) if fd is not None else None
    with loading():
        from app.main import create_app
        from app.server.server import make_server

        app = create_app(settings)
        server = make_server(app, settings, _with_dashboard(app, settings, listener) if dashboard else None)
    loaded()
    with startup.exit_1_on_failure():
        server.run(sockets=[listener] if listener is not None else None)
    if not server.started:
        raise typer.Exit(1)


def _api_together(settings: Settings) -> None:
    """Run several API processes, each with its own socket at the same address."""
    with listen_together(settings) as listeners, TemporaryDirectory(prefix="masktune-metrics-") as metrics:
        environment = {
            **_environment(settings),
            "MASKTUNE_MODELS_IN_MEMORY_BYTES": str(settings.models_in_memory_bytes // len(listeners)),
            "PROMETHEUS_MULTIPROC_DIR": metrics,
        }
        processes = [
            _api_process(settings, f"API process {number}", listener, environment)
            for number, listener in enumerate(listeners, 1)
        ]
        asyncio.run(_run_until_signal(settings, processes, listeners[0]))


def _service(settings: Settings, listener: socket.socket) -> Sequence[Process]:
    """The processes of `masktune serve`: the API with the dashboard, and a worker."""
    environment = _environment(settings)
    return (
        _api_process(settings, "API", listener, environment, "--dashboard"),
        Process("worker", (*PYTHON, "worker", "--tied"), environment, grace=settings.end_grace_seconds + 12),
    )


def _api_process(
    settings: Settings, name: str, listener: socket.socket, environment: dict[str, str], *more: str
) -> Process:
    """A process of the API on an existing socket."""
    number = listener.fileno()
    return Process(
        name,
        (*PYTHON, "api", "--tied", "--fd", str(number), *more),
        environment,
        inherited=(number,),
        grace=settings.graceful_shutdown_seconds + 5,
    )


def _environment(settings: Settings) -> dict[str, str]:
    """The environment of the processes, including the settings from the command line."""
    return {
        **os.environ,
        "MASKTUNE_DATA_DIR": str(settings.data_dir.absolute()),
        "MASKTUNE_HOST": settings.host,
        "MASKTUNE_WORKER_SLOTS": str(settings.worker_slots),
    }


async def _run_until_signal(
    settings: Settings, processes: Sequence[Process], listener: socket.socket
) -> None:
    """Run the processes until a signal stops them, and print a message when they are ready."""
    manager = ProcessManager(processes, say=_say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, manager.stop.set)
    greeting = asyncio.create_task(_greet(settings, listener, manager.up))
    try:
        await manager.run()
    except ProcessFailed as failed:
        fail(f"{failed}; see its output above", 1)
    finally:
        greeting.cancel()
    _say("masktune has stopped")


def _with_dashboard(api: FastAPI, settings: Settings, listener: socket.socket | None) -> ASGIApp:
    """The API with the dashboard beside it, which is connected to the API's own address."""
    from app.server.edge import Edge
    from app.server.guard import Guard
    from app.server.proxies import Proxies

    def url() -> str:
        at = (settings.host, settings.port) if listener is None else listener.getsockname()[:2]
        return url_of(*at)

    def guard(pages: ASGIApp) -> ASGIApp:
        return Edge(
            pages,
            proxies=Proxies(settings.trusted_proxies, settings.proxy_user),
            guard=Guard(allowed=settings.allowed_hosts, is_open=not settings.needs_key),
            admission=api.state.admission,
            metrics=api.state.metrics,
        )

    return beside(api, Dashboard(url), guard)


async def _greet(settings: Settings, listener: socket.socket, up: asyncio.Event) -> None:
    """Print the address once the API answers."""
    host, port = listener.getsockname()[:2]
    while not await answers(host, port):
        await asyncio.sleep(0.2)
    up.set()
    where = f"docs at /docs, data in {settings.data_dir}"
    _say(f"masktune is ready at {url_of(host, port)} ({where}, Ctrl-C stops it)")


def _say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def listen_together(settings: Settings) -> Iterator[list[socket.socket]]:
    """One listening socket per process; the kernel distributes new connections among them.

    They are bound here so that they outlive a crashed process: its connections wait for the restart.
    """
    # Fails if another service has the address, which SO_REUSEPORT alone would not.
    with listen(settings) as first:
        host, port = first.getsockname()[:2]
        family = first.family
    with ExitStack() as opened:
        yield [
            opened.enter_context(
                socket.create_server((host, port), family=family, backlog=2048, reuse_port=True)
            )
            for _ in range(settings.api_processes)
        ]


@contextmanager
def listen(settings: Settings) -> Iterator[socket.socket]:
    """A socket bound before the API starts: port 0 is resolved at once, and API restarts drop no client."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        fail(f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}", 1)
    with listener:
        yield listener


def _reachable(host: str) -> str:
    """The host to connect to: a loopback address if the socket listens on all interfaces."""
    everywhere = "0.0.0.0"  # noqa: S104  # nosec B104
    return {everywhere: "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def url_of(host: str, port: int) -> str:
    """The address under which this machine reaches what listens on `host`."""
    host = _reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def answers(host: str, port: int) -> bool:
    """Whether the API answers. The socket already listens, so the request waits until the API has started."""
    try:
        reader, writer = await asyncio.open_connection(_reachable(host), port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in status
