"""Runs the documentation's commands as a reader would, page by page, in one shell, and compares the output.

A page's ```console blocks hold commands that begin with `$ ` (continued by `> `) and their output. Its
```python blocks are programs. Both are run, unless the line above says why not; such a command is checked by
`tests.acceptance.docs_checks` instead:

    <!-- not run: needs a Docker engine -->

With `<!-- runs until Ctrl-C -->`, the parts of the service that the block starts run in the background of the
commands that follow them, with their own address and data folder. At the end of the block they receive Ctrl-C
and must exit with a code in `ENDED`. With `<!-- cancelled: trains for minutes -->`, a job is cancelled once
the service has accepted it.

Only stable output is compared. `…` matches any text, and any lines if it is alone on a line; numbers with a
decimal point, shares, dates and secrets may differ. With `<!-- figures vary -->` above the block, all other
numbers may differ too, and with `<!-- answers vary -->` everything after the first word of a line. Ids may
differ as well: in the commands after it, an id on the page stands for the id that the service returned, and
`ds_…` for the most recently printed id of its kind.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from masktune import Client, ProblemError
from tests.support.docs.pages import Command, blocks
from tests.support.docs.shell import BackgroundCommand, Shell, lasts
from tests.support.servers import free_port

ID = re.compile(r"\b(?:ds|job|mdl|key|cal)_[0-9a-z]{10,}\b")
ENDED = (0, 1, 130)
"""Allowed exit codes of a part of the service after Ctrl-C; Celery's worker exits with 1."""
HOME = "127.0.0.1:8000"
"""The service's address on the pages; the README has `localhost` instead."""
_LATEST = re.compile(r"\b(ds|job|mdl)_…")
_VARIES = re.compile(
    r"(?P<id>\b(?:ds|job|mdl|key|cal)_[0-9a-z]{10,}\b)"
    r"|(?P<any>…)"
    r"|(?P<secret>[A-Za-z0-9_-]{32,})"
    r"|(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z?)"
    r"|(?P<figure>[+-]?\d[\d,]*(?:\.\d+(?:e[+-]?\d+)?%?|%))"
    r"|(?P<rule>─+)"
    r"|(?P<count>\d[\d,]*)"
)
_PATTERNS = {
    "any": r".*",
    "secret": r"[A-Za-z0-9_-]{32,}",
    "time": r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?Z?",
    "figure": r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?%?",
    "rule": r"─+",
}


@dataclass
class Reader:
    """Types a page's commands as a reader would. `service` is the service's actual host and port."""

    folder: Path
    environment: dict[str, str]
    service: str
    stand_ins: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    """Text on the pages that names something fictional → factory of its replacement, called on first use."""
    ids: dict[str, str] = field(default_factory=dict)
    """Id on the page → id that the service returned."""
    latest: dict[str, str] = field(default_factory=dict)
    """Kind of id → the most recently printed id."""
    _shell: Shell | None = None

    @property
    def shell(self) -> Shell:
        """The shell of the current page."""
        if self._shell is None:
            self._shell = Shell(self.folder, self.environment)
        return self._shell

    def turn_the_page(self) -> None:
        """Close the page's shell, and with it the variables that the page has set."""
        if self._shell is not None:
            self._shell.close()
        self._shell = None

    def type(self, command: Command) -> tuple[list[str], int]:
        printed, code = self.shell.run(self._here(command.text))
        for found in ID.findall("\n".join(printed)):
            self.latest[found.partition("_")[0]] = found
        return [line.replace(self.service, HOME) for line in printed], code

    def type_and_cancel(self, command: Command) -> tuple[list[str], int]:
        """Start a job, cancel it, and wait for its end, because later commands may delete its data set."""
        printed, code = self.type(command)
        if code == 0 and "jobs start" in command.text:
            # By the client: two more commands would take as long as those of the page.
            with Client(f"http://{self.service}", key=self.environment.get("MASKTUNE_KEY")) as client:
                with suppress(ProblemError):  # it has ended, and its state says how
                    client.jobs.cancel(self.latest["job"])
                *_, job = client.jobs.watch(self.latest["job"])
            if job.state != "cancelled":
                return [*printed, f"{job.id} {job.state}: {job.error}"], 1
        return printed, code

    @contextmanager
    def beside(self) -> Iterator[Callable[[Command], tuple[list[str], int]]]:
        """Yield a `type` that runs parts of the service in the background until the end of the block, when
        they receive Ctrl-C."""
        home, port = self.service, free_port()
        running: list[BackgroundCommand] = []
        with tempfile.TemporaryDirectory() as name:

            def start(command: Command) -> tuple[list[str], int]:
                if not lasts(command.text):
                    up = all(part.comes_up() for part in running)
                    return self.type(command) if up else (running[-1].said(), 1)
                typed, log = self._here(command.text), Path(name) / f"{len(running)}.log"
                log.touch()
                given = re.search(r"--port (\d+)", typed)
                at = f"127.0.0.1:{given[1] if given else port}"
                running.append(BackgroundCommand(self.shell, typed, self.shell.begin(typed, log), log, at))
                if " web" not in typed:
                    self.service = at
                    self.shell.run(f"export MASKTUNE_URL=http://{at}")
                if command.printed and not running[-1].comes_up():
                    return running[-1].said(), 1
                return [line.replace(at, HOME).replace(name, "var") for line in running[-1].said()], 0

            self.shell.run(f"export MASKTUNE_DATA_DIR={name} MASKTUNE_PORT={port}")
            try:
                yield start
            finally:
                up = [part.comes_up() for part in running]
                for part in reversed(running):
                    part.interrupt()
                codes = [part.ended() for part in running]
                self.service = home
                self.shell.run(f"unset MASKTUNE_DATA_DIR MASKTUNE_PORT; export MASKTUNE_URL=http://{home}")
            for part, came, code in zip(running, up, codes, strict=True):
                told = "\n".join([f"{part.command}\nended with {code}:", *part.said()])
                assert came, told
                assert code in ENDED, told

    def _here(self, text: str) -> str:
        """The command with real ids, addresses and stand-ins in place of those on the page."""
        text = ID.sub(lambda found: self.ids.get(found[0], found[0]), text)
        text = _LATEST.sub(lambda found: self.latest.get(found[1], found[0]), text)
        for name, made in self.stand_ins.items():
            if name in text:
                text = text.replace(name, made())
        return text.replace("localhost:8000", HOME).replace(HOME, self.service)

    def compare(self, expected: list[str], printed: list[str], *, varies: str | None) -> str | None:
        """Return None and learn the ids if the output matches, else what was printed instead."""
        if not expected:
            return None
        names: list[str] = []
        pattern = "".join(
            r"(?:[^\n]*\n)*" if line.strip() == "…" else self._pattern(line, names, varies) + r"\n"
            for line in expected
            if line.strip()
        )
        text = "".join(f"{line.strip()}\n" for line in printed if line.strip())
        found = re.fullmatch(pattern, text)
        if found is None:
            return "\n".join(printed)
        return self._learn(list(zip(names, found.groups(), strict=True)))

    def relate(self, expected: list[str], printed: list[str]) -> None:
        """Learn ids by their order, for output whose surrounding text has changed."""
        pages, real = (ID.findall("\n".join(lines)) for lines in (expected, printed))
        for kind in {name.partition("_")[0] for name in pages}:
            of_kind = [
                list(dict.fromkeys(i for i in ids if i.startswith(kind + "_"))) for ids in (pages, real)
            ]
            for name, given in zip(*of_kind, strict=False):
                self.ids.setdefault(name, given)

    def refreshed(self, expected: list[str], printed: list[str], *, varies: str | None) -> list[str]:
        """The page's lines with current figures; lines shortened with `…` stay as they are."""
        waiting, fresh = iter(printed), []
        for line in filter(str.strip, expected):
            pattern = self._pattern(line, [], varies)
            shortened = "…" in line
            fresh.append(
                line if shortened else next(now for now in waiting if re.fullmatch(pattern, now.strip()))
            )
        return fresh

    def _pattern(self, line: str, names: list[str], varies: str | None) -> str:
        made, at = "", 0
        line = line.strip()
        if varies == "answers":
            line = f"{line.split()[0]} …"
        for found in _VARIES.finditer(line):
            kind = found.lastgroup or ""
            made += _literal(line[at : found.start()])
            if kind == "id":
                names.append(found[0])
                made += f"({found[0].partition('_')[0]}_[0-9a-z]+)"
            elif kind == "count":
                made += r"[+-]?\d[\d,]*" if varies else re.escape(found[0])
            else:
                made += _PATTERNS[kind]
            at = found.end()
        return made + _literal(line[at:])

    def _learn(self, pairs: list[tuple[str, str]]) -> str | None:
        for name, given in pairs:
            if self.ids.setdefault(name, given) != given:
                return f"{name} of the page stood for {self.ids[name]}, and now for {given}"
        return None


def _literal(text: str) -> str:
    return re.sub(r"(?:\\ |\s)+", r"\\s*", re.escape(text))


def read(page: Path, reader: Reader) -> Iterator[str]:
    """Run a page's commands; yield a text for each deviation from the page."""
    reader.turn_the_page()
    for block in blocks(page):
        if block.not_run is not None:
            continue
        plainly = reader.type_and_cancel if block.cancelled else reader.type
        with reader.beside() if block.lasts else nullcontext(plainly) as type_:
            for command in block.commands:
                printed, code = type_(command)
                if code:
                    yield f"{page.name}, {command.where}\nended with {code}:\n" + "\n".join(printed)
                    return  # the following commands depend on it
                logs = block.lasts and lasts(command.text) and command.printed  # logs, which no page shows
                expected = ["…", *command.printed, "…"] if logs else command.printed
                instead = reader.compare(expected, printed, varies=block.varies)
                if instead is not None:
                    yield f"{page.name}, {command.where}\nprinted:\n{instead}"
                    return


def rewrite(page: Path, reader: Reader) -> None:
    """Update the page's output where it differs from what the commands print now, and all ids."""
    lines = page.read_text(encoding="utf-8").splitlines()
    changed: list[tuple[int, int, list[str]]] = []
    reader.turn_the_page()
    for block in blocks(page):
        if block.not_run is not None or block.lasts or block.cancelled:
            continue
        for command in block.commands:
            printed, code = reader.type(command)
            if code:
                raise SystemExit(f"{page}, {command.where}\nended with {code}:\n" + "\n".join(printed))
            differs = reader.compare(command.printed, printed, varies=block.varies) is not None
            if differs:
                reader.relate(command.printed, printed)
            told = [line for line in printed if line.strip()]
            if not differs:
                told = reader.refreshed(command.printed, told, varies=block.varies)
            first = command.line + command.text.count("\n")
            changed.append((first, first + len(command.printed), told))
    for first, last, printed in reversed(changed):
        lines[first:last] = printed
    text = "\n".join(lines) + "\n"
    page.write_text(ID.sub(lambda found: reader.ids.get(found[0], found[0]), text), encoding="utf-8")
