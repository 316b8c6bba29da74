"""The commands of the documentation, run as a reader would: page by page, in one shell, outputs compared.

A page's ```console blocks hold lines that begin with `$ ` (continued by `> `) and what they print. Its
```python blocks are programs. Both are run, unless the line above says why not:

    <!-- not run: needs a Docker engine -->

Outputs are compared where they are stable. `…` stands for any text, alone on a line for any lines; numbers
with a decimal point, shares, dates and secrets may differ. With `<!-- figures vary -->` above the block all
other numbers may too, and with `<!-- answers vary -->` whatever stands behind the first word of a line. Ids
may differ as well: an id of the page stands for the one that the service gave, in the commands after it.

    python -m tests.acceptance.docs_console PAGE…     runs the pages in this order and writes what was printed
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ID = re.compile(r"\b(?:ds|job|mdl|key|cal)_[0-9a-z]{10,}\b")
HOME = "127.0.0.1:8000"
"""Where the pages say that the service is."""
_FENCE = re.compile(r"^```(\w+)\s*$")
_MARK = re.compile(r"^<!-- (not run: (?P<why>.+)|(?P<vary>figures|answers) vary) -->$")
_DONE = "the-command-has-ended"
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
class Command:
    """One command of a page, and the lines that it prints there."""

    line: int
    text: str
    printed: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass
class Block:
    """A fenced block: what is in it, why it is not run, and which lines of the page its text takes."""

    language: str
    first: int
    last: int
    commands: list[Command]
    not_run: str | None = None
    varies: str | None = None
    """`figures`, or `answers` as well."""


def blocks(page: Path) -> list[Block]:
    """The console and Python blocks of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        end = lines.index("```", at + 1)
        if fence[1] in ("console", "python"):
            body = lines[at + 1 : end]
            program = [Command(at + 2, "python - <<'EOF'\n" + "\n".join(body) + "\nEOF")]
            commands = program if fence[1] == "python" else _commands(body, at + 2)
            not_run, varies = _marks(lines[:at])
            found.append(Block(fence[1], at + 1, end, commands, not_run, varies))
        at = end + 1
    return found


def _commands(body: list[str], first: int) -> list[Command]:
    found: list[Command] = []
    for number, line in enumerate(body, first):
        if line.startswith("$ "):
            found.append(Command(number, line.removeprefix("$ ")))
        elif not found:
            raise ValueError(f"line {number}: a console block begins with a command")
        elif line.startswith("> ") and not found[-1].printed:
            found[-1].text += "\n" + line.removeprefix("> ")
        else:
            found[-1].printed.append(line)
    return found


def _marks(above: list[str]) -> tuple[str | None, str | None]:
    not_run: str | None = None
    varies: str | None = None
    for line in reversed(above):
        mark = _MARK.match(line)
        if mark is None:
            break
        not_run, varies = mark["why"] or not_run, mark["vary"] or varies
    return not_run, varies


class Shell:
    """One bash for a whole page: variables and the folder last from command to command."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[list[str], int]:
        """The lines it printed, errors among them, and its exit code."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        # By eval, so that a quote that does not end is an error and not a wait for more.
        typed = f"eval {shlex.quote(command)} </dev/null"
        self._bash.stdin.write(f"{typed}\nprintf '\\n%s %s\\n' {_DONE} $?\n")
        self._bash.stdin.flush()
        printed: list[str] = []
        for line in self._bash.stdout:
            if line.startswith(f"{_DONE} "):
                if printed and not printed[-1]:
                    printed.pop()
                return printed, int(line.split()[1])
            printed.append(line.rstrip())
        raise AssertionError(f"the shell ended in {command!r}")

    def close(self) -> None:
        self._bash.communicate()


@dataclass
class Reader:
    """Somebody who types a page's commands. `service` is where the service really is, host and port."""

    shell: Shell
    service: str
    ids: dict[str, str] = field(default_factory=dict)
    """Id in the page → id that the service gave."""

    def type(self, command: Command) -> tuple[list[str], int]:
        typed = ID.sub(lambda found: self.ids.get(found[0], found[0]), command.text)
        printed, code = self.shell.run(typed.replace(HOME, self.service))
        return [line.replace(self.service, HOME) for line in printed], code

    def compare(self, expected: list[str], printed: list[str], *, varies: str | None) -> str | None:
        """None where they agree, and then the ids are learned; else what was printed instead."""
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
        """Learn ids by their order, where the text around them has changed."""
        pages, real = (ID.findall("\n".join(lines)) for lines in (expected, printed))
        for kind in {name.partition("_")[0] for name in pages}:
            of_kind = [
                list(dict.fromkeys(i for i in ids if i.startswith(kind + "_"))) for ids in (pages, real)
            ]
            for name, given in zip(*of_kind, strict=False):
                self.ids.setdefault(name, given)

    def refreshed(self, expected: list[str], printed: list[str], *, varies: str | None) -> list[str]:
        """The lines of the page with the figures of now; what somebody has shortened stays short."""
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
    """Type what is to be run of a page; what went otherwise than it says, one text each."""
    for block in blocks(page):
        if block.not_run is not None:
            continue
        for command in block.commands:
            printed, code = reader.type(command)
            if code:
                yield f"{page.name}, {command.where}\nended with {code}:\n" + "\n".join(printed)
                return  # what follows rests on it
            instead = reader.compare(command.printed, printed, varies=block.varies)
            if instead is not None:
                yield f"{page.name}, {command.where}\nprinted:\n{instead}"
                return


def rewrite(page: Path, reader: Reader) -> None:
    """Put what the commands print now where it differs from the page, and the ids of now everywhere."""
    lines = page.read_text(encoding="utf-8").splitlines()
    changed: list[tuple[int, int, list[str]]] = []
    for block in blocks(page):
        if block.not_run is not None:
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


def main() -> None:
    import tempfile

    from tests.acceptance.conftest import started
    from tests.acceptance.docs_service import reading

    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as processes:
        with reading(processes, Path(folder)) as reader:
            for page in sys.argv[1:]:
                rewrite(Path(page), reader)


if __name__ == "__main__":
    main()
