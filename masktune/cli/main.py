"""The command `masktune` and its subcommands. Starts without torch and without the service's packages."""

from __future__ import annotations

import io
import os
import sys
from importlib.metadata import entry_points, version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from masktune.cli.commands import datasets, jobs, keys, models, review_queue, webhooks
from masktune.cli.commands.fix import evaluate, fix
from masktune.cli.commands.image_answers import image_answers
from masktune.cli.commands.predict import predict
from masktune.cli.output import INTERRUPTED, REFUSED, USAGE, fail
from masktune.cli.session import BEFORE_COMMAND

HELP = """Train image classifiers past the shortcuts they found, and serve them with a reject option.

`masktune demo` shows it in two minutes; `masktune serve` runs the service on this machine.
Client commands take --url and --key (MASKTUNE_URL, MASKTUNE_KEY), before or after their names.
"""
# One source line per paragraph: line breaks here would appear in the terminal, whatever its width.
EPILOG = (
    "Exit codes: 0 success; 1 refused or failed; 2 invalid command line; "
    "3 the service cannot be reached; 4 the job or import did not succeed; 130 interrupted."
)


class ConciseErrorGroup(TyperGroup):
    """Takes options of all client commands before a command too; reports a usage error, and where to find
    help, in one line instead of typer's five-line box."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `--url URL jobs list` as `jobs list --url URL`; one after the command wins."""
        ahead: list[str] = []
        while args and (name := args[0].partition("=")[0]) in BEFORE_COMMAND:
            width = 2 if name == args[0] and BEFORE_COMMAND[name] else 1
            ahead, args = [*ahead, *args[:width]], args[width:]
        command: Any = self
        depth = 0
        while isinstance(command, TyperGroup) and depth < len(args):
            command = command.commands.get(args[depth])
            depth += 1
        ahead = [] if isinstance(command, TyperGroup) else ahead  # it only shows its help
        return super().parse_args(ctx, [*args[:depth], *ahead, *args[depth:]])

    def main(self, *args: Any, **options: Any) -> Any:
        is_program = options.pop("standalone_mode", True)
        options["standalone_mode"] = False
        if not is_program:
            return super().main(*args, **options)
        try:
            code = super().main(*args, **options)
            sys.stdout.flush()  # flushed here because the interpreter would print an error
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(REFUSED)
        except typer.Abort:
            sys.exit(INTERRUPTED)
        except TyperException as error:
            _exit_with_usage(error)
        sys.exit(code if isinstance(code, int) else 0)


def _exit_with_usage(error: TyperException) -> NoReturn:
    """Print the error and exit. Without a message, no command was given and the help was already printed."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    if message and type(error).__name__ != "NoArgsIsHelpError":
        where = f"; see {context.command_path} --help" if context is not None else ""
        print(f"masktune: {message[:1].lower()}{message[1:]}{where}", file=sys.stderr)
    sys.exit(USAGE)


app = typer.Typer(
    name="masktune",
    cls=ConciseErrorGroup,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _tell_version(requested: bool) -> None:
    if requested:
        typer.echo(version("masktune"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options before the command."""


SERVICE_COMMANDS = (
    "serve",
    "api",
    "worker",
    "migrate",
    "backup",
    "restore",
    "web",
    "demo",
    "doctor",
    "weights",
)
"""What the distribution `masktune-service` adds, through its entry point in the group `masktune.commands`."""


def _add_service_commands() -> None:
    """Add the service's commands where it is installed; elsewhere, each says what to install."""
    installed = entry_points(group="masktune.commands")
    for commands in installed:
        for command in commands.load():
            if isinstance(command, typer.Typer):
                app.add_typer(command, rich_help_panel="The service")
            else:
                app.command(rich_help_panel="The service")(command)
    if not installed:
        anything = {"ignore_unknown_options": True, "allow_extra_args": True}
        for name in SERVICE_COMMANDS:
            app.command(name, hidden=True, add_help_option=False, context_settings=anything)(_needs_service)


def _needs_service(context: typer.Context) -> None:
    """Exit with 2 and what to install."""
    service = f"masktune-service {version('masktune')}"
    fail(f"{context.info_name} is part of the service: install {service} from where masktune came", USAGE)


_add_service_commands()
app.command()(fix)
app.command()(evaluate)
app.add_typer(datasets.app, name="datasets")
jobs.app.command("image-answers")(image_answers)
app.add_typer(jobs.app, name="jobs")
app.add_typer(models.app, name="models")
app.add_typer(review_queue.app, name="reviews")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
app.command()(keys.audit)
app.command()(keys.storage)
app.command()(predict)


def main() -> None:
    """The entry point. Characters that the terminal's encoding lacks are escaped instead of raising."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    app()
