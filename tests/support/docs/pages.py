"""Parses the commands of a page: its ```console and ```python blocks, and the marks above them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)\s*$")
_MARK = re.compile(
    r"^<!-- (not run: (?P<why>.+)|(?P<vary>figures|answers) vary"
    r"|(?P<lasts>runs until Ctrl-C)|(?P<cancelled>cancelled): .+) -->$"
)
_PROGRAMS = r"(?:masktune|make|docker|kubectl|pip|python3? -m|pre-commit|\.venv/bin/\S+|\.ci/run)"
_SPAN = re.compile(rf"`((?:[A-Z_]+=\S+ )*{_PROGRAMS} [^`]+)`")
_LINE = re.compile(rf"^ *((?:[A-Z_]+=\S+ )*{_PROGRAMS} [^`]+)$")


@dataclass
class Command:
    """One command of a page, and its output as shown there."""

    line: int
    text: str
    printed: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        return f"line {self.line}: {self.text}"


@dataclass
class Block:
    """A fenced block: its commands, why it is not run, and the lines of the page that its text occupies."""

    language: str
    first: int
    last: int
    commands: list[Command]
    not_run: str | None = None
    varies: str | None = None
    """`figures` or `answers`; see `console`."""
    lasts: bool = False
    cancelled: bool = False


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
            marks = _marks(lines[:at])
            found.append(
                Block(
                    fence[1],
                    at + 1,
                    end,
                    commands,
                    not_run=marks.get("why"),
                    varies=marks.get("vary"),
                    lasts="lasts" in marks,
                    cancelled="cancelled" in marks,
                )
            )
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


def _marks(above: list[str]) -> dict[str, str]:
    """The marks in the lines directly above a block."""
    marks: dict[str, str] = {}
    for line in reversed(above):
        mark = _MARK.match(line)
        if mark is None:
            break
        marks |= {name: said for name, said in mark.groupdict().items() if said}
    return marks


def named(page: Path) -> list[Command]:
    """The commands that a page mentions outside its console blocks: within a text or on their own line."""
    lines = page.read_text(encoding="utf-8").splitlines()
    of_blocks = {number for block in blocks(page) for number in range(block.first, block.last + 2)}
    found: list[Command] = []
    for number, line in enumerate(lines, 1):
        if number in of_blocks:
            continue
        alone = _LINE.match(line) if line.startswith("    ") or "```" in lines[: number - 1] else None
        texts = _SPAN.findall(line) + ([alone[1]] if alone else [])
        found += [Command(number, text.partition("  #")[0].rstrip("\\")) for text in texts]
    return found
