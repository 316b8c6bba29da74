"""The commands that the service adds to `masktune`."""

from __future__ import annotations

import typer

from launcher.commands import COMMANDS
from masktune.cli.main import SERVICE_COMMANDS, app


def test_the_light_distribution_knows_the_names_of_the_service_s_commands() -> None:
    """Where the service is not installed, `masktune NAME` says what to install."""
    names = tuple(
        command.info.name if isinstance(command, typer.Typer) else command.__name__ for command in COMMANDS
    )
    assert names == SERVICE_COMMANDS


def test_the_entry_point_adds_every_command() -> None:
    added = [command.callback for command in app.registered_commands]
    added += [group.typer_instance for group in app.registered_groups]
    assert [command for command in COMMANDS if command not in added] == []
