"""The command group of `masktune`, which prints usage errors in one line like all other errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from masktune.cli.output import INTERRUPTED, REFUSED, USAGE

# Depending on its version, typer raises the errors of its vendored click or of the package. This fits both.
_Usage = cast(type[Exception], typer.BadParameter.__mro__[1])


class OneLine(TyperGroup):
    """Reports a usage error, and where to find help, in one line instead of typer's five-line box."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        asked = (args, prog_name, complete_var)
        if not standalone_mode:
            return super().main(*asked, standalone_mode=False, **extra)
        try:
            code = super().main(*asked, standalone_mode=False, **extra)
            sys.stdout.flush()  # flushed here because the interpreter would print an error
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(REFUSED)
        except typer.Abort:
            sys.exit(INTERRUPTED)
        except _Usage as error:
            _wrong(error)
        sys.exit(code if isinstance(code, int) else 0)


def _wrong(error: Any) -> NoReturn:
    """Print the error and exit. Without a message, no command was given and the help was already printed."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx
    if message and type(error).__name__ != "NoArgsIsHelpError":
        where = f"; see {context.command_path} --help" if context is not None else ""
        print(f"masktune: {message[:1].lower()}{message[1:]}{where}", file=sys.stderr)
    sys.exit(USAGE)
