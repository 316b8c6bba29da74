"""The command `masktune demo`."""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from masktune.cli.interrupts import prompt_signals
from masktune.cli.output import ENDED_BADLY, INTERRUPTED, REFUSED, console, fail, fail_with


def demo(
    output: Annotated[Path, typer.Option(help="Folder for the pictures and the report.")] = Path("demo"),
    photographs: Annotated[
        bool, typer.Option("--photographs", help="Photographs whose background is the shortcut.")
    ] = False,
) -> None:
    """Show the whole service in two minutes: upload, train, compare, predict. Leaves nothing running."""
    from launcher.demo import digits
    from launcher.demo import photographs as photographs_
    from launcher.demo.service import ServiceFailed, running_service
    from launcher.demo.steps import Steps, heading
    from masktune import Client, ClientError

    signal.signal(signal.SIGTERM, _interrupted)
    terminal, started = console(), time.monotonic()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with prompt_signals(), tempfile.TemporaryDirectory(prefix="masktune-demo-") as folder:
            heading(terminal, "1. The service")
            terminal.print("Starting it here: an API and a worker. No server to install, no account.")
            with running_service(Path(folder), output / "service.log") as url, Client(url) as client:
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
