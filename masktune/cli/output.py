"""Output of the commands: results on standard output, one line on standard error for a failure.

Exit codes: 0 success · 1 refused or failed · 2 invalid command line · 3 the service cannot be reached ·
4 the job or import did not succeed · 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer

import masktune
from masktune.cli.characters import escape_controls

if TYPE_CHECKING:
    from rich.table import Table

    from masktune.cli.terminal import Terminal
    from masktune.contract.base import Resource

REFUSED, USAGE, UNREACHABLE, ENDED_BADLY, INTERRUPTED = 1, 2, 3, 4, 130


def fail(message: str, code: int) -> NoReturn:
    """Print the reason in one line and exit with this code."""
    print(f"masktune: {escape_controls(' '.join(message.split()))}", file=sys.stderr)
    raise typer.Exit(code)


def fail_with(error: masktune.ClientError) -> NoReturn:
    """Print the client's error in one line and exit with the code that belongs to it."""
    if isinstance(error, masktune.ProblemError):
        faults = "".join(_fault(fault, error.detail) for fault in error.errors)
        fail(f"{error.title}: {error.detail}{faults}", REFUSED)
    if isinstance(error, masktune.DatasetInvalid | masktune.JobNotSucceeded | masktune.WaitedTooLong):
        fail(str(error), ENDED_BADLY)
    codes: dict[type[masktune.ClientError], int] = {
        masktune.NotSent: USAGE,
        masktune.Unreachable: UNREACHABLE,
    }
    fail(str(error), codes.get(type(error), REFUSED))


def _fault(fault: masktune.FieldError, detail: str) -> str:
    """The field and its fault, unless `detail` already says the same."""
    if fault.detail not in detail:
        return f" [{fault.pointer}: {fault.detail}]"
    return "" if fault.pointer in detail else f" [{fault.pointer}]"


def console() -> Terminal:
    """The console for results. Without a terminal, it has no colour and wraps no lines, so `grep` works."""
    from masktune.cli.terminal import WIDE, Terminal

    return Terminal(width=None if sys.stdout.isatty() else WIDE)


def new_table(*columns: str, title: str | None = None) -> Table:
    """An empty table in the style of all commands; without columns, for pairs of a name and what it is."""
    from rich.box import SIMPLE
    from rich.table import Table

    return Table(*columns, box=SIMPLE, show_header=bool(columns), title=title, title_justify="left")


def figure(number: object, digits: int = 3) -> str:
    """Format a number for a table; `–` if there is none."""
    if number is None:
        return "–"
    if isinstance(number, float):
        return f"{number:.{digits}f}"
    return str(number)


def table_of(resource: Resource, kind: str) -> Table:
    """A table of one resource, which begins with its id and metadata; its title has its name, if any."""
    table = new_table(title=f"{kind} {resource.name or ''}".rstrip())
    table.add_row("id", resource.id)
    for key, text in resource.metadata.items():
        table.add_row(key, text)
    return table


def age(moment: Any) -> str:
    """Format a timestamp for people, in the local time zone and with its name."""
    return "–" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"
