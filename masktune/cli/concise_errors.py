"""The command group of `masktune`, which prints usage errors in one line like all other errors."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from masktune.cli.output import INTERRUPTED, REFUSED, USAGE


class ConciseErrorGroup(TyperGroup):
    """Reports a usage error, and where to find help, in one line instead of typer's five-line box."""

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
