"""The commands that the service adds to `masktune`."""

from __future__ import annotations

from launcher.commands import COMMANDS
from masktune.cli.main import SERVICE_COMMANDS, app


def test_the_light_distribution_knows_the_names_of_the_service_s_commands() -> None:
    """Where the service is not installed, `masktune NAME` says what to install."""
    assert tuple(command.__name__ for command in COMMANDS) == SERVICE_COMMANDS


def test_the_entry_point_adds_every_command() -> None:
    added = [command.callback for command in app.registered_commands]
    assert [command for command in COMMANDS if command not in added] == []
