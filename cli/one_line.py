"""The command `masktune` as a group whose errors of usage are one line too, as all others are."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import typer
from typer.core import TyperGroup

from cli.output import INTERRUPTED, REFUSED, USAGE

# The click that typer raises errors of is its own or not, by its version: this name holds for both.
_Usage = cast(type[Exception], typer.BadParameter.__mro__[1])


class OneLine(TyperGroup):
    """Says what is wrong with a command line, and where its help is, in place of a box of five lines."""

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
            sys.stdout.flush()  # here, and not by the interpreter when it is too late to say nothing
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(REFUSED)
        except typer.Abort:
            sys.exit(INTERRUPTED)
        except _Usage as error:
            _wrong(error)
        sys.exit(code if isinstance(code, int) else 0)


def _wrong(error: Any) -> NoReturn:
    """An error that has no message has shown the help already: nothing was asked for."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx
    if message and type(error).__name__ != "NoArgsIsHelpError":
        where = f"; see {context.command_path} --help" if context is not None else ""
        print(f"masktune: {message[:1].lower()}{message[1:]}{where}", file=sys.stderr)
    sys.exit(USAGE)
