"""A wrong command line: one line that says what is wrong, and where the help is."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from masktune.cli.main import app


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("jobs show", "masktune: missing argument 'JOB'; see masktune jobs show --help"),
        ("nonsense", "masktune: no such command 'nonsense'; see masktune --help"),
        ("jobs list --most 0", "masktune: invalid value for '--most': "),
        ("jobs list --kin erm", "masktune: no such option: --kin"),
        ("keys create line --scope", "masktune: option '--scope' requires an argument"),
        (
            "jobs start maskune --dataset ds_1",
            "masktune: there is no job of kind 'maskune'; use one of mitigate, masktune, erm, mask, ",
        ),
        ("predict none.png", "masktune: none.png does not exist"),
        (
            "models add none.safetensors --backbone b --class a --class b --image-size 28",
            "masktune: invalid value for 'file': file 'none.safetensors' does not exist",
        ),
        ("jobs list --url foo", "masktune: foo is not an address: it must begin with http:// or "),
        ("jobs list --url foo:8000", "masktune: foo:8000 is not an address: it must begin with http://"),
        ("--url foo jobs list", "masktune: foo is not an address: it must begin with http:// or "),
        ("--url=bar jobs list --url foo", "masktune: foo is not an address: it must begin with http"),
        ("--url foo nonsense", "masktune: no such command 'nonsense'; see masktune --help"),
        ("--url foo serve", "masktune: no such option: --url; see masktune serve --help"),
        ("jobs list --url ftp://foo", "masktune: ftp://foo is not an address: it must begin with http"),
    ],
)
def test_a_wrong_command_line_is_one_line(command: str, said: str) -> None:
    result = CliRunner().invoke(app, command.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(said)
    assert len(result.stderr.splitlines()) == 1


def test_what_the_help_says_in_brackets_is_shown() -> None:
    shown = CliRunner().invoke(app, ["keys", "create", "--help"], env={"COLUMNS": "200"}).stdout
    assert "Default: read and predict" in shown


@pytest.mark.parametrize("command", ["", "--url", "--json --url foo"])
def test_no_command_at_all_shows_the_help(command: str) -> None:
    result = CliRunner().invoke(app, command.split())
    assert result.exit_code == 2
    assert "Usage: masktune" in result.output
    assert "masktune:" not in result.stderr
