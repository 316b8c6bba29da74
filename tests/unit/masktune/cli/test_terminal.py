"""What reaches the terminal: names as text and nothing else, and every line and id whole."""

from __future__ import annotations

import pytest
import typer
from rich.table import Table

from masktune.cli.characters import escape_controls
from masktune.cli.output import fail
from masktune.cli.progress import watch_hint
from masktune.cli.terminal import Terminal
from tests.support.answers import FULL_REPORT
from tests.unit.masktune.cli.conftest import Service

CLEARS = "red\x1b[2J\x9b5m\u202e"
"""A class that would clear the screen, blink, and turn what follows round."""
SPELT = r"red\x1b[2J\x9b5m\u202e"


def test_a_failure_is_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        fail(f"no model is called {CLEARS}", 1)
    assert capsys.readouterr().err == f"masktune: no model is called {SPELT}\n"


def test_text_in_any_language_is_shown_as_it_is() -> None:
    for text in ("Vögel (groß)", "鳥", "عصفور", "a\tb\n", "🐦"):
        assert escape_controls(text) == text


def test_a_list_cuts_no_id_in_a_narrow_terminal() -> None:
    console, table = Terminal(width=40), Table("id", "name", "made")
    table.add_row("ds_01m8cja36kcmd70pn17j4pteeg", "photographs of birds", "2026-11-26 18:36:28")
    with console.capture() as seen:
        console.print_whole(table)
    assert "ds_01m8cja36kcmd70pn17j4pteeg" in seen.get()
    assert console.width == 40


def test_where_there_is_no_terminal_a_line_is_whole(service: Service) -> None:
    path, why = "a/" * 100 + "x.png", "it ends before the picture does " * 10
    rejected = [{"path": path, "code": "truncated", "detail": why.strip()}]
    service.answers["GET /datasets/ds_1/report"] = (200, FULL_REPORT | {"rejected": rejected})
    (line,) = (
        one for one in service.masktune("datasets", "report", "ds_1").stdout.splitlines() if path in one
    )
    assert why.strip() in line


def test_an_interrupted_watch_says_that_the_job_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, watch_hint("job_1"):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == (
        "masktune: job job_1 keeps running: `masktune jobs watch job_1` follows it, "
        "`masktune jobs cancel job_1` ends it\n"
    )
