"""What a command says: results on standard output, one line on standard error when it fails.

Exit codes: 0 done · 1 the service said no · 2 the command line is wrong · 3 the service cannot be
reached · 4 what was waited for ended badly · 130 interrupted.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from cli.terminal import Terminal
    from client import ClientError, FieldError

REFUSED, USAGE, UNREACHABLE, ENDED_BADLY, INTERRUPTED = 1, 2, 3, 4, 130


WIDE = 100_000
"""Columns of what is no terminal: room for any line."""

# What steers a terminal, turns the direction of writing, or is half a character.
_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """The text with what a terminal would obey spelt out: names of files and classes come from anybody."""
    return _STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def fail(message: str, code: int) -> NoReturn:
    """Say why in one line, and end with this exit code."""
    print(f"masktune: {shown(' '.join(message.split()))}", file=sys.stderr)
    raise typer.Exit(code)


def fail_with(error: ClientError) -> NoReturn:
    """The line and the exit code of what the client met."""
    from client import DatasetInvalid, JobNotSucceeded, NotSent, ProblemError, Unreachable, WaitedTooLong

    if isinstance(error, ProblemError):
        faults = "".join(_told(fault, error.detail) for fault in error.errors)
        fail(f"{error.title}: {error.detail}{faults}", REFUSED)
    if isinstance(error, DatasetInvalid | JobNotSucceeded | WaitedTooLong):
        fail(str(error), ENDED_BADLY)
    codes: dict[type[ClientError], int] = {NotSent: USAGE, Unreachable: UNREACHABLE}
    fail(str(error), codes.get(type(error), REFUSED))


def _told(fault: FieldError, detail: str) -> str:
    """A field and what is wrong with it, in so far as the sentence before does not say so."""
    if fault.detail not in detail:
        return f" [{fault.pointer}: {fault.detail}]"
    return "" if fault.pointer in detail else f" [{fault.pointer}]"


def console() -> Terminal:
    """Where results go. Without a terminal: no colour, and no line is broken: `grep` finds it whole."""
    from cli.terminal import Terminal

    return Terminal(width=None if sys.stdout.isatty() else WIDE)


def figure(value: object, digits: int = 3) -> str:
    """A number for a table, `–` where there is none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return str(value)


def age(value: Any) -> str:
    """A time stamp as a person reads it, in the local zone."""
    return "–" if value is None else f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
