"""The command `masktune demo`, with a service of its own, which ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from masktune.cli.output import ENDED_BADLY, INTERRUPTED, REFUSED, console, fail, fail_with
from masktune.cli.session import prompt_signals


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the pictures and the report.")] = Path("demo"),
    photographs: Annotated[
        bool, typer.Option("--photographs", help="Photographs whose background is the shortcut.")
    ] = False,
) -> None:
    """Show the whole service in two minutes: upload, train, compare, predict. Leaves nothing running."""
    from launcher.demo import digits
    from launcher.demo import photographs as photographs_
    from launcher.demo.steps import Steps, heading
    from masktune import Client, ClientError

    signal.signal(signal.SIGTERM, _interrupted)
    terminal, started = console(), time.monotonic()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with prompt_signals(), tempfile.TemporaryDirectory(prefix="masktune-demo-") as folder:
            heading(terminal, "1. The service")
            terminal.print("Starting it here: an API and a worker. No server to install, no account.")
            with running_service(Path(folder), output / "service.log") as url, Client(url, key="") as client:
                terminal.print(f"It answers at {url} after {time.monotonic() - started:.1f} s.")
                steps = Steps(client, terminal, output)
                if photographs:
                    photographs_.run(steps)
                else:
                    digits.run(steps, scratch=Path(folder))
        terminal.print(f"\nThe service has stopped. The demo took {time.monotonic() - started:.0f} s.")
    except ClientError as error:
        fail_with(error)
    except ServiceFailed as error:
        fail(str(error), ENDED_BADLY)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), REFUSED)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _interrupted(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second SIGTERM must not interrupt the cleanup
    raise KeyboardInterrupt


class ServiceFailed(Exception):
    """`masktune serve` ended before it was ready."""


@contextlib.contextmanager
def running_service(folder: Path, log: Path) -> Iterator[str]:
    """Run `masktune serve` on a free port with its data in `folder`. Yields its address; stops it on exit."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "masktune.cli",
                "serve",
                "--port",
                "0",
                "--data-dir",
                str(folder / "var"),
                "--tied",
            ],
            stdin=subprocess.PIPE,  # held open: the service ends when this process does
            stdout=subprocess.PIPE,
            stderr=file,
            env=_clean_environment(),
            cwd=folder,  # away from any .env file of the user
            text=True,
            start_new_session=True,
        )
        try:
            yield _address(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _address(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if "ready at " in line:
            return line.partition("ready at ")[2].split()[0]
    raise ServiceFailed(f"the service did not start; see {log}")


def _clean_environment() -> dict[str, str]:
    """This process's environment without settings that would point the demo at a real database."""
    environment = {name: setting for name, setting in os.environ.items() if not name.startswith("MASKTUNE_")}
    here = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (here, environment.get("PYTHONPATH"))))
    return environment
