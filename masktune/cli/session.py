"""Shared by all client commands: the service's address, the key, and how to print."""

from __future__ import annotations

import functools
import inspect
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, cast

import typer

import masktune
from masktune.cli.output import INTERRUPTED, REFUSED, UNREACHABLE, USAGE, console, fail, fail_with, new_table
from masktune.environment import CA_FILE, DEFAULT_URL, KEY, URL

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import RenderableType

    from masktune.cli.terminal import Terminal

P = ParamSpec("P")
CHECK_SECONDS = 0.25
"""Seconds after which a signal that did not end a waiting call ends it."""


@dataclass(frozen=True)
class Session:
    """One command's connection and output format."""

    client: masktune.Client
    console: Terminal
    json: bool

    @cached_property
    def dataset_names(self) -> dict[str | None, str]:
        """Names of the newest hundred data sets by id, from one request."""
        return {entry.id: entry.name for entry in islice(self.client.datasets.list(limit=100), 100)}

    def show(
        self,
        answer: BaseModel | dict[str, Any],
        table: Callable[[Any], RenderableType],
        *,
        whole: bool = False,
    ) -> None:
        """Print one object: as JSON for programs, for people as what `table` makes of it, `whole` if that has
        ids in several columns."""
        if self.json:
            print(json.dumps(plain(answer), indent=2, ensure_ascii=False))
        else:
            (self.console.print_whole if whole else self.console.print)(table(answer))

    def show_all(
        self,
        entries: Iterable[BaseModel],
        columns: tuple[str, ...],
        row: Callable[[Any], tuple[str, ...]],
        *,
        most: int | None = None,
    ) -> None:
        """Print the first `most` of a list: as a JSON array, or as one row each."""
        entries = islice(entries, most)
        if self.json:
            print(json.dumps([plain(entry) for entry in entries], indent=2, ensure_ascii=False))
            return
        table = new_table(*columns)
        for entry in entries:
            table.add_row(*row(entry))
        self.console.print_whole(table)

    def ask_and_delete(
        self, kind: str, name: str, delete: Callable[[str], None], *, yes: bool, keep_dataset: bool = False
    ) -> None:
        """Delete it if `yes`, or if the person agrees who is asked with what needs it.
        `keep_dataset`: a job without the data set that would go with it."""
        from masktune.contract.deletion import deletion_question

        if not yes and not sys.stdin.isatty():
            fail("there is no terminal to ask at: add --yes to delete it without a question", USAGE)
        if not yes:
            dependents = self.client.dependents(name)
            if keep_dataset:
                dependents = dependents.model_copy(update={"datasets": []})
            if not typer.confirm(deletion_question(dependents), err=True):
                fail("nothing was deleted", REFUSED)
        delete(name)
        self.say(f"{kind} {name} is deleted")

    def say(self, line: str) -> None:
        """Print a sentence for people; print nothing if the output is JSON."""
        if not self.json:
            self.console.print(line)


def plain(answer: BaseModel | dict[str, Any]) -> object:
    """The JSON values of an answer, including fields unknown to this version."""
    return answer if isinstance(answer, dict) else answer.model_dump(mode="json")


def with_session(command: Callable[Concatenate[Session, P], None]) -> Callable[P, None]:
    """Give the command a `Session` and the options --url, --key, --ca-file and --json.

    Prints its errors in one line.
    """
    signature = inspect.signature(command, eval_str=True)
    parameters = [*list(signature.parameters.values())[1:], *_OPTIONS]

    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        url, key, ca_file, as_json = (cast(str | None, kwargs.pop(option.name)) for option in _OPTIONS)
        try:
            with prompt_signals(), masktune.Client(url, key, ca_file=ca_file) as client:
                command(Session(client, console(), bool(as_json)), *args, **kwargs)
        except masktune.Unreachable as error:
            fail(f"{error}; is the service running at {url}? Start it with `masktune serve`", UNREACHABLE)
        except masktune.ClientError as error:
            fail_with(error)
        except BrokenPipeError:
            raise  # the reader closed the pipe; `ConciseErrorGroup` ends the command
        except OSError as error:
            fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), REFUSED)
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    functools.update_wrapper(run, command)
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # read by typer
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


@contextmanager
def prompt_signals() -> Iterator[None]:
    """Have Python act on a signal within `CHECK_SECONDS`, whatever the main thread waits for.

    Python notes a signal when it comes and acts on it between two instructions; a signal during a system call
    ends the call. One that comes between the last instruction and the call would be noted only, and the call
    would wait on, for a silent stream of events until its timeout. A timer's signal, which does nothing, ends
    such a call; one without anything noted goes on by itself (PEP 475). Windows has no such timer.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGALRM, lambda *_: None)
    timer = signal.setitimer(signal.ITIMER_REAL, CHECK_SECONDS, CHECK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def _option(name: str, default: object, annotation: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_PANEL = "Connection and output"
_URL = Annotated[str, typer.Option(envvar=URL, help="Address of the service.", rich_help_panel=_PANEL)]
_KEY = Annotated[
    str | None,
    typer.Option(envvar=KEY, help="A key for the service.", rich_help_panel=_PANEL, show_default=False),
]
_CA_FILE = Annotated[
    str | None,
    typer.Option(
        envvar=CA_FILE,
        help="File with the certificate (PEM) of the authority of an https address.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
_JSON = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.", rich_help_panel=_PANEL)]
_OPTIONS = (
    _option("url", DEFAULT_URL, _URL),
    _option("key", None, _KEY),
    _option("ca_file", None, _CA_FILE),
    _option("json", False, _JSON),
)
BEFORE_COMMAND = {f"--{one.name.replace('_', '-')}": one.default is not False for one in _OPTIONS}
"""The options of all client commands, and whether each takes a word."""
