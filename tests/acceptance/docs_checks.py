"""Checks documented commands without running them: whatever they name exists, and their options are valid.

Each check takes the words of one simple command, without the variables before it, and raises `Wrong` if the
command would fail for a reader who types it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from itertools import pairwise, takewhile
from typing import Any
from unittest import mock

import yaml
from packaging.requirements import Requirement
from typer.testing import CliRunner

from core.settings import Settings
from masktune.cli.main import app
from tests.acceptance.conftest import ROOT

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
        if program not in CHECKS:
            raise Wrong(f"nothing is known about {program}")
        CHECKS[program](rest)


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
    """Files, profiles and services must exist; if Docker is installed, it checks `docker compose` itself."""
    if words[0] == "build":
        _exists("Dockerfile")
        return
    if words[0] in ("save", "load", "run"):
        return
    if words[0] != "compose":
        raise Wrong(f"nothing is known about docker {words[0]}")
    options = words[1:] or ["up"]  # a page may name just `docker compose`
    profiles: list[str] = []
    files: list[str] = []
    at = 0
    while options[at].startswith("-"):
        (profiles if options[at] == "--profile" else files).append(options[at + 1])
        at += 2
    verb, rest = options[at], options[at + 1 :]
    if verb not in ("up", "build", "pull", "exec", "run", "cp", "down", "config"):
        raise Wrong(f"nothing is known about docker compose {verb}")
    services: dict[str, Any] = {}
    for file in files or ["docker-compose.yml"]:
        services |= yaml.safe_load(_exists(file).replace("!override", ""))["services"]
    known = {profile for service in services.values() for profile in service.get("profiles", ())}
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
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    ):
        command = ["docker", "compose", "--env-file", os.devnull, *options[:at], "config", "--quiet"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(done.stderr)


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
    """The folders, deployments and settings must exist."""
    for option, word in pairwise(words):
        if option == "-k":
            _exists(f"{word}/kustomization.yaml")
        elif option == "deployment":
            _deployed(word)
    for word in words:
        found = re.match(r"--from-literal=(MASKTUNE_\w+)=", word)
        if found:
            _variable(found[1])


def _deployed(name: str) -> None:
    for path in (ROOT / "deploy/kubernetes").rglob("*.yaml"):
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if manifest["kind"] == "Deployment" and manifest["metadata"]["name"] == name:
                return
    raise Wrong(f"nothing deploys {name}")


def _without_folders(words: list[str]) -> Iterator[str]:
    """The words without the folders and files that options name, and without what the shell replaces."""
    waiting = iter(words)
    for word in waiting:
        if word in ("--dest", "--wheel-dir", "--find-links", "--constraint"):
            next(waiting)
        elif word == "--requirement":
            _exists(next(waiting))
        elif word.startswith("$("):
            return
        else:
            yield word


def pip(words: list[str]) -> None:
    """Extras and groups must be defined by this project; other packages must be among its dependencies.

    A path must hold a distribution.
    """
    project = tomllib.loads(_exists("pyproject.toml"))
    for path in (word for word in words[1:] if word.startswith(".")):
        _exists(f"{path}/pyproject.toml")
    words = list(_without_folders(words))
    wanted = [word for word in words[1:] if not word.startswith(("-", ".")) and "//" not in word]
    if "--group" in words:
        groups = wanted
        if not set(groups) <= set(project["dependency-groups"]):
            raise Wrong(f"{groups} of {list(project['dependency-groups'])}")
        return
    needed = {Requirement(one).name for one in project["project"]["dependencies"]} | {DISTRIBUTION}
    for one in map(Requirement, wanted):
        if one.name not in needed or not one.extras <= set(project["project"]["optional-dependencies"]):
            raise Wrong(f"{one} is nothing of ours")


def git(words: list[str]) -> None:
    """Only subcommands that need no local setup are allowed."""
    if words[0] not in ("clone", "pull"):
        raise Wrong(f"nothing is known about git {words[0]}")


def sourced(words: list[str]) -> None:
    """The Makefile must create that environment."""
    if "VENV := .venv\n" not in _exists("Makefile") or words != [".venv/bin/activate"]:
        raise Wrong("make install makes another environment")


def ci(words: list[str]) -> None:
    """CI's own script must be executable."""
    if not os.access(ROOT / ".ci/run", os.X_OK):
        raise Wrong("there is no .ci/run to execute")


def hooks(words: list[str]) -> None:
    """Its configuration must exist."""
    _exists(".pre-commit-config.yaml")


def anything(words: list[str]) -> None:
    """A command that refers to nothing in this project."""


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
    "git": git,
    "source": sourced,
    "run": ci,
    "pre-commit": hooks,
    "openapi-python-client": anything,
    "cd": anything,
    "export": exported,
}
