"""The commands, as `--help` describes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from docs.reference_pages.markdown import code, sections, table
from masktune.cli.main import EPILOG, app

NAME = "masktune"


def commands() -> str:
    """Every command with its arguments and options."""
    told = []
    for path, command in walk():
        context = command.make_context(path, [], resilient_parsing=True)
        records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
        rows = [(code(names), text) for names, text in filter(None, records) if names != "--help"]
        usage = " ".join(command.get_usage(context).removeprefix("Usage:").split())
        told += [
            f"## {path}",
            f"```text\n{usage}\n```",
            command.help or "",
            table(("argument or option", ""), rows),
        ]
    return sections([" ".join(EPILOG.split()), *told])


def variables() -> list[tuple[str, str, str]]:
    """Environment variables that set an option: (variable, commands, description)."""
    found: dict[str, tuple[list[str], str]] = {}
    for path, command in walk():
        for parameter in command.params:
            if isinstance(parameter.envvar, str):
                of, _ = found.setdefault(parameter.envvar, ([], str(getattr(parameter, "help", "") or "")))
                of.append(path.removeprefix(f"{NAME} "))
    return [(code(name), _few(of), text) for name, (of, text) in sorted(found.items())]


def walk() -> Iterator[tuple[str, Any]]:
    """Yield (path, command) of each command that is not a group, in the order of `--help`."""
    yield from _below(NAME, typer.main.get_command(app))


def _below(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    # Not by class: the class of a group is an internal detail of typer, and has changed.
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, each in inner.items():
        if not each.hidden:
            yield from _below(f"{path} {name}", each)


def _few(names: list[str]) -> str:
    return ", ".join(code(name) for name in names) if len(names) <= 2 else "every client's command"
