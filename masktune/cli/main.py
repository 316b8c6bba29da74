"""The command `masktune` and its subcommands. Starts without torch and without the service's packages."""

from __future__ import annotations

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from launcher import serve
from launcher.backup import backup, restore
from launcher.demo import demo
from launcher.doctor import doctor
from launcher.web import web
from masktune.cli import datasets, jobs, keys, models
from masktune.cli.one_line import OneLine
from masktune.cli.predict import predict

HELP = """Train image classifiers past the shortcuts they found, and serve them with a reject option.

`masktune demo` shows it in two minutes; `masktune serve` runs the service on this machine.
The client commands talk to the service at --url (MASKTUNE_URL) with --key (MASKTUNE_KEY).
"""
# One source line per paragraph: line breaks here would appear in the terminal, whatever its width.
EPILOG = (
    "Exit codes: 0 success; 1 refused or failed; 2 invalid command line; "
    "3 the service cannot be reached; 4 the job or import did not succeed; 130 interrupted."
)

app = typer.Typer(
    name="masktune",
    cls=OneLine,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(version("masktune-service"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options before the command."""


_PARTS = "The service"
for command in (serve.serve, serve.api, serve.worker, serve.migrate, backup, restore, web, demo, doctor):
    app.command(rich_help_panel=_PARTS)(command)
app.add_typer(datasets.app, name="datasets")
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.command()(predict)


def main() -> None:
    """The entry point. Characters that the terminal's encoding lacks are escaped instead of raising."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    app()
