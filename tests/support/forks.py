"""Commands in forks of this process, which has imported what they need: processes without their start."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from typer.testing import CliRunner

from masktune.cli.main import app


class Outcome(NamedTuple):
    """The exit code of a command, and what it printed."""

    code: int
    printed: str


def in_forks(count: int, *words: str, **settings: str) -> list[Outcome]:
    """Run `masktune WORDS` so many times at once, each in a process of its own."""
    with ProcessPoolExecutor(count, mp_context=get_context("fork")) as processes:
        return list(processes.map(_run, [words] * count, [settings] * count))


def _run(words: Sequence[str], settings: dict[str, str]) -> Outcome:
    environment = {f"MASKTUNE_{name}": value for name, value in settings.items()}
    done = CliRunner().invoke(app, words, env=environment)
    return Outcome(done.exit_code, done.output)
