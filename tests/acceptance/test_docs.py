"""Every command of the documentation does what its page says, against one service and one small job."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT, started
from tests.acceptance.docs_console import Command, Reader, blocks, read
from tests.acceptance.docs_service import reading

DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
ELSEWHERE = {
    "REPRODUCTION.md": "benchmarks: minutes to days each",
    "SERVING.md": "benchmarks and clusters; tests/integration and tests/acceptance have their parts",
    "SCALING.md": "benchmarks and clusters; tests/integration and tests/acceptance have their parts",
}
"""Pages whose commands are measurements: none of them is run here."""
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.name not in ELSEWHERE)
RUN = [page for page in PAGES if page != TUTORIAL and any(b.not_run is None for b in blocks(page))]
NOT_RUN = [
    pytest.param(command, block.not_run or ELSEWHERE.get(page.name), id=f"{page.stem}-{command.line}")
    for page in sorted(DOCS.rglob("*.md"))
    for block in blocks(page)
    for command in block.commands
    if block.not_run is not None or page.name in ELSEWHERE
]
_COMMAND = re.compile(
    r"^\s*(\$ )?(masktune|make|docker|curl|pip|python|python3|\.venv/bin/\S+|git|kubectl)\s"
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Has a service; whoever asks for it first waits for it."""
    if shutil.which("bash") is None or shutil.which("curl") is None:
        pytest.skip("NOT TESTED: the commands of the documentation take bash and curl")
    folder = tmp_path_factory.mktemp("docs")
    with started(folder) as processes, reading(processes, folder) as made:
        yield made


@pytest.fixture(scope="module")
def taught(reader: Reader) -> Reader:
    """Has done the tutorial, which the how-to guides begin at."""
    assert list(read(TUTORIAL, reader)) == []
    return reader


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_tutorial_does_what_it_says(taught: Reader) -> None:
    assert taught.ids, "the tutorial has made nothing"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, taught: Reader) -> None:
    assert list(read(page, taught)) == []


@pytest.mark.parametrize(("command", "why"), NOT_RUN)
def test_what_is_not_run(command: Command, why: str) -> None:
    pytest.skip(f"NOT RUN: {why}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_command_hides_where_it_is_not_run(page: Path) -> None:
    """A command stands in a console block, or in a line of text."""
    language, hidden = None, []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            language = None if language is not None else line.removeprefix("```").strip()
        elif language not in ("console", "python") and (line.startswith("    ") or language is not None):
            hidden += [line] if _COMMAND.match(line) else []
    assert hidden == []
