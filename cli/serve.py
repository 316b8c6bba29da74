"""`masktune serve`, `api`, `worker`, `migrate`: the only place here that knows the service's own packages.

They are imported inside the functions, so that the client's commands start without them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from cli import starting
from cli.output import USAGE, fail
from cli.starting import read_settings

if TYPE_CHECKING:
    from cli.parts import Part
    from cli.web import App
    from core.settings import Settings

PYTHON = (sys.executable, "-m", "cli")

Host = Annotated[str | None, typer.Option(help="Address to listen on [MASKTUNE_HOST, 127.0.0.1].")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port; 0 picks a free one [MASKTUNE_PORT, 8000].")
]
DataDir = Annotated[
    Path | None, typer.Option(file_okay=False, help="Folder of database, queue and artifacts [./var].")
]
Workers = Annotated[
    int | None, typer.Option(min=1, max=64, help="Jobs that run at a time [MASKTUNE_WORKER_SLOTS, 1].")
]
Tied = Annotated[bool, typer.Option("--tied", hidden=True, help="End when standard input ends.")]


def serve(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    workers: Workers = None,
    tied: Tied = False,
) -> None:
    """Run the whole service here: the API with its dashboard and one worker, nothing else to install.

    Everything is kept in one folder. Ctrl-C or SIGTERM ends both parts.

    A job that is running is given back, and goes on from its last checkpoint at the next start.
    """
    settings = read_settings(host=host, port=port, data_dir=data_dir, worker_slots=workers)
    starting.exit_0_on_sigterm()
    _tie(tied)
    starting.migrate(settings)
    starting.look_for_card(settings)
    with _listening(settings) as listener:
        asyncio.run(_keep(settings, _service(settings, listener), listener))


def api(
    host: Host = None,
    port: Port = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="A socket that listens already.")] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show the dashboard as well, at / of the same address.")
    ] = False,
    processes: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that share the address [MASKTUNE_API_PROCESSES, 1]."),
    ] = None,
    tied: Tied = False,
) -> None:
    """Run the API alone. Workers find it through the database and the broker of the settings."""
    from app.process import prepare_process

    prepare_process()
    settings = read_settings(host=host, port=port, api_processes=processes)
    starting.exit_0_on_sigterm()
    _tie(tied)
    starting.migrate(settings)
    if not tied:  # else whoever started this one looks
        starting.look_for_card(settings)
    if settings.api_processes == 1 or fd is not None:
        _api_alone(settings, fd, dashboard=dashboard)
    elif dashboard:
        fail("a dashboard keeps its pages in one process: run it apart, with `masktune web`", USAGE)
    else:
        _api_together(settings)


def worker(
    tied: Tied = False,
    check: Annotated[
        bool, typer.Option("--check", help="Start nothing: only see whether a worker could work here.")
    ] = False,
) -> None:
    """Run one worker alone: as many jobs at a time as MASKTUNE_WORKER_SLOTS says."""
    settings = read_settings()
    if check:
        return starting.check_parts(settings)
    _tie(tied)
    if not tied:
        starting.look_for_card(settings)
    from core.loading import loaded, loading

    with loading():
        from worker.__main__ import main
    loaded()

    raise typer.Exit(main(settings))


def migrate() -> None:
    """Bring the database up to date. The parts do it themselves when they start."""
    starting.migrate(read_settings())


def _api_alone(settings: Settings, fd: int | None, *, dashboard: bool) -> None:
    """In this process; on a socket that is there already, where its number is given."""
    from core.loading import loaded, loading

    listener = socket.socket(fileno=fd) if fd is not None else None
    with loading():
        from app.server import make_server

        server = make_server(settings, wrap=_with_dashboard(settings, listener) if dashboard else None)
    loaded()
    with starting.refusing():
        server.run(sockets=[listener] if listener is not None else None)
    if not server.started:
        raise typer.Exit(1)


def _api_together(settings: Settings) -> None:
    """As many processes as the settings say, each with a socket of its own at the same address."""
    with _sharing(settings) as listeners, TemporaryDirectory(prefix="masktune-metrics-") as metrics:
        environment = {
            **_environment(settings),
            "MASKTUNE_MODELS_IN_MEMORY_BYTES": str(settings.models_in_memory_bytes // len(listeners)),
            "PROMETHEUS_MULTIPROC_DIR": metrics,
        }
        parts = [
            _api_part(settings, f"API process {number}", listener, environment)
            for number, listener in enumerate(listeners, 1)
        ]
        asyncio.run(_keep(settings, parts, listeners[0]))


def _service(settings: Settings, listener: socket.socket) -> Sequence[Part]:
    """The API with the dashboard, and a worker."""
    from cli.parts import Part

    environment = _environment(settings)
    return (
        _api_part(settings, "API", listener, environment, "--dashboard"),
        Part("worker", (*PYTHON, "worker", "--tied"), environment, grace=settings.end_grace_seconds + 12),
    )


def _api_part(
    settings: Settings, name: str, listener: socket.socket, environment: dict[str, str], *more: str
) -> Part:
    """A process of the API on a socket that is there already."""
    from cli.parts import Part

    number = listener.fileno()
    return Part(
        name,
        (*PYTHON, "api", "--tied", "--fd", str(number), *more),
        environment,
        inherited=(number,),
        grace=settings.graceful_shutdown_seconds + 5,
    )


def _environment(settings: Settings) -> dict[str, str]:
    """What the command line said, for the parts."""
    return {
        **os.environ,
        "MASKTUNE_DATA_DIR": str(settings.data_dir.absolute()),
        "MASKTUNE_HOST": settings.host,
        "MASKTUNE_WORKER_SLOTS": str(settings.worker_slots),
    }


async def _keep(settings: Settings, parts: Sequence[Part], listener: socket.socket) -> None:
    """Run the parts until a signal ends them, and say when they are ready."""
    from cli.parts import Keeper, PartFailed

    keeper = Keeper(parts=parts, say=_say)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, keeper.stop.set)
    greeting = asyncio.create_task(_greet(settings, listener, keeper.up))
    try:
        await keeper.run()
    except PartFailed as failed:
        fail(f"{failed}; what it said is above", 1)
    finally:
        greeting.cancel()
    _say("masktune has ended")


def _with_dashboard(settings: Settings, listener: socket.socket | None) -> Callable[[App], App]:
    """What puts the dashboard beside the API. It speaks to the API where that listens."""
    from functools import partial

    from app.middleware.same_origin import SameOrigin, known
    from cli.web import Dashboard, beside

    def url() -> str:
        at = (settings.host, settings.port) if listener is None else listener.getsockname()[:2]
        return _address(*at)

    guard = partial(SameOrigin, allowed=settings.allowed_hosts, is_open=known(not settings.keys))
    return lambda api: beside(api, Dashboard(url), guard)


async def _greet(settings: Settings, listener: socket.socket, up: asyncio.Event) -> None:
    """Say the address once the API answers."""
    host, port = listener.getsockname()[:2]
    while not await _answers(_reachable(host), port):
        await asyncio.sleep(0.2)
    up.set()
    address = _address(host, port)
    _say(f"masktune is ready at {address} (docs at /docs, data in {settings.data_dir}, Ctrl-C ends it)")


def _reachable(host: str) -> str:
    """An address that this machine reaches, where the socket listens on every one."""
    everywhere = "0.0.0.0"  # noqa: S104  # nosec B104
    return {everywhere: "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def _address(host: str, port: int) -> str:
    host = _reachable(host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _answers(host: str, port: int) -> bool:
    """Whether the API serves. The socket listens already: the request waits in it for the API's start."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in status


@contextmanager
def _sharing(settings: Settings) -> Iterator[list[socket.socket]]:
    """A listening socket for each process: the kernel deals new connections out among them.

    Bound here, they outlive a process that crashes: its connections wait for its next start.
    """
    with _listening(
        settings
    ) as first:  # refuses an address that another service has, which sharing would not
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
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """Bound here and not by the API: port 0 is known at once, and a restart of the API drops no client."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        fail(f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}", 1)
    with listener:
        yield listener


def _tie(tied: bool) -> None:
    if tied:
        from cli.tied import end_with_parent

        end_with_parent()


def _say(line: str) -> None:
    print(line, flush=True)
