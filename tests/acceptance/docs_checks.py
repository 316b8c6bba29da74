"""Checks documented commands without running them: whatever they name exists, and their options are valid.

Each check takes the words of one simple command, without the variables before it, and raises `Wrong` if the
command would fail for a reader who types it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from itertools import pairwise, takewhile
from typing import Any
from unittest import mock

import yaml
from typer.testing import CliRunner

from core.settings import Settings
from masktune.cli.main import app
from tests.support.processes import ROOT

DISTRIBUTION = "masktune-service"
SETTINGS = {f"MASKTUNE_{name.upper()}" for name in Settings.model_fields}
CLIENT_SETTINGS = {
    "MASKTUNE_URL",
    "MASKTUNE_KEY",
    "MASKTUNE_CA_FILE",
    "MASKTUNE_WEB_HOST",
    "MASKTUNE_WEB_PORT",
}
_VARIABLE = re.compile(r"^([A-Z][A-Z0-9_]*)=")
END = "--the-end"
"""An unknown option: it keeps a command from running, and a parser that accepts the rest rejects it alone."""
_ENDS = {"&&", "||", ";", "|", "&"}


class Wrong(Exception):
    """The command would not work as documented."""


def check(text: str) -> None:
    """Check every command of a line. Raises `Wrong` if one cannot work, or if there is no check for it."""
    for words in simple(text):
        variables = list(takewhile(_VARIABLE.match, words))
        for variable in variables:
            _variable(variable.partition("=")[0])
        if len(variables) == len(words):
            continue
        program, *rest = words[len(variables) :]
        program = program.rpartition("/")[2]
        if program in CHECKS:
            CHECKS[program](rest)
        elif program not in OTHERS:
            raise Wrong(f"nothing is known about {program}")


def simple(text: str) -> Iterator[list[str]]:
    """Split a line into its simple commands, without redirections."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word in _ENDS:
            yield words
            words = []
        else:
            words.append(word)
    if ">" in words:
        words = words[: words.index(">")]
    yield words


def _variable(name: str) -> None:
    if name.startswith("MASKTUNE_") and name not in SETTINGS | CLIENT_SETTINGS:
        raise Wrong(f"there is no setting {name}")


def masktune(words: list[str]) -> None:
    """The command's own parser must reject only `END`, which is added here."""
    done = CliRunner().invoke(app, [*words, END])
    if done.exit_code != 2 or f"no such option: {END}" not in done.output:
        raise Wrong(done.output)


def python(words: list[str]) -> None:
    """The program must exist. The own parser of a benchmark or an experiment must reject only `END`."""
    if words[0] != "-m":
        if not (ROOT / words[0]).is_file():
            raise Wrong(f"there is no {words[0]}")
        return
    if not words[1].startswith(("benchmarks.", "research.")):
        if importlib.util.find_spec(words[1]) is None:
            raise Wrong(f"there is no module {words[1]}")
        return
    module = importlib.import_module(words[1])
    if hasattr(module, "__path__"):
        module = importlib.import_module(f"{words[1]}.__main__")
    told = io.StringIO()
    with (
        mock.patch.object(sys, "argv", [words[1], *words[2:], END]),
        contextlib.redirect_stderr(told),
        contextlib.suppress(SystemExit),
    ):
        module.main()
    if not told.getvalue().rstrip().endswith(f"error: unrecognized arguments: {END}"):
        raise Wrong(told.getvalue())


def make(words: list[str]) -> None:
    """The targets must exist."""
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Wrong(done.stderr)


def docker(words: list[str]) -> None:
    """Files, profiles and services of `docker compose` must exist, and what runs in a service."""
    if words[0] != "compose":
        return
    options = words[1:] or ["up"]  # a page may name just `docker compose`
    profiles: list[str] = []
    files: list[str] = []
    while options[0].startswith("-"):
        (profiles if options[0] == "--profile" else files).append(options[1])
        options = options[2:]
    services: dict[str, Any] = {}
    for file in files or ["docker-compose.yml"]:
        services |= yaml.safe_load(_exists(file).replace("!override", ""))["services"]
    known = {profile for service in services.values() for profile in service.get("profiles", ())}
    verb, rest = options[0], options[1:]
    named = [word.partition("=")[0] for before, word in pairwise(rest) if before == "--scale"]
    if verb in ("exec", "run"):
        inside = list(_inside(rest))
        named.append(inside[0])
        if inside[1] == "masktune":
            masktune(inside[2:])
    if verb == "cp":
        named += [word.partition(":")[0] for word in rest if ":" in word]
    if not set(profiles) <= known or not set(named) <= set(services):
        raise Wrong(f"{profiles} of {sorted(known)}, {named} of {sorted(services)}")


def _inside(words: list[str]) -> Iterator[str]:
    """The service and the command that runs in it, which follow Compose's own options."""
    waiting = iter(words)
    for word in waiting:
        if word == "--volume":
            next(waiting)
        elif not word.startswith("-"):
            yield word
            yield from waiting


def kubectl(words: list[str]) -> None:
    """The folders and settings must exist."""
    for option, word in pairwise(words):
        if option == "-k":
            _exists(f"{word}/kustomization.yaml")
    for setting in re.findall(r"--from-literal=(MASKTUNE_\w+)=", " ".join(words)):
        _variable(setting)


def pip(words: list[str]) -> None:
    """Our folders, groups and extras must exist."""
    project = tomllib.loads(_exists("pyproject.toml"))
    for before, word in pairwise(words):
        if word.startswith("."):
            _exists(f"{word}/pyproject.toml")
        if before == "--group" and word not in project["dependency-groups"]:
            raise Wrong(f"there is no group {word}")
        ours = re.fullmatch(rf"{DISTRIBUTION}\[(\w+)\].*", word)
        if ours and ours[1] not in project["project"]["optional-dependencies"]:
            raise Wrong(f"there is no extra {ours[1]}")


def exported(words: list[str]) -> None:
    """The variables must be settings."""
    for word in words:
        _variable(word.partition("=")[0])


def _exists(name: str) -> str:
    path = ROOT / name
    if not path.is_file():
        raise Wrong(f"there is no {name}")
    return path.read_text(encoding="utf-8")


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "masktune": masktune,
    "python": python,
    "python3": python,
    "make": make,
    "docker": docker,
    "kubectl": kubectl,
    "pip": pip,
    "pipx": pip,
    "uv": pip,
    "export": exported,
}
OTHERS = {"git", "source", "run", "pre-commit", "openapi-python-client", "cd"}
"""Programs whose words name nothing of this project."""
