"""Every command of the documentation does what its page says, against one service and one small job."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from masktune import Client
from tests.acceptance.docs_service import reading
from tests.support.docs.console import Reader, read
from tests.support.docs.pages import blocks
from tests.support.processes import ROOT

pytestmark = pytest.mark.docs

DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
WALK = DOCS / "ARCHITECTURE.md"
"""Ends with a walk at a service without a key: test_readme.py runs it."""
APART = ("server.md",)
"""Pages that start all that they need: test_docs_standalone.py runs them, beside these."""
PAGES = sorted(DOCS.rglob("*.md"))
RUN = [
    page for page in PAGES if any(b.not_run is None for b in blocks(page)) and page not in (TUTORIAL, WALK)
]
_COMMAND = re.compile(
    r"^\s*(\$ )?(masktune|make|docker|curl|pip|python3?(?! -m (benchmarks|research))"
    r"|\.venv/bin/\S+|git|kubectl)\s"
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Has a service; whoever asks for it first waits for it."""
    with reading(tmp_path_factory.mktemp("docs")) as made:
        yield made


@pytest.fixture(scope="module")
def taught(reader: Reader) -> Reader:
    """Has done the tutorial, which the how-to guides begin at."""
    assert list(read(TUTORIAL, reader)) == []
    return reader


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(taught: Reader) -> None:
    assert taught.ids, "the tutorial has made nothing"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if page.name not in APART], ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, taught: Reader) -> None:
    assert list(read(page, taught)) == []


@pytest.mark.slow
def test_a_running_job_is_cancelled_by_a_command(taught: Reader) -> None:
    """The jobs of the pages are cancelled by the client."""
    with Client(taught.environment["MASKTUNE_URL"], key=taught.environment["MASKTUNE_KEY"]) as client:
        dataset = next(found.id for found in client.datasets.list() if found.name == "squares")
        job = client.jobs.start("erm", dataset=dataset, epochs=200)  # longer than any test
        next(seen for seen in client.jobs.watch(job.id) if seen.state == "running")
    told, code = taught.shell.run(f"masktune jobs cancel {job.id}")
    assert code == 0, told
    told, code = taught.shell.run(f"masktune jobs watch {job.id}")
    assert (code, told[-1]) == (4, f"masktune: job {job.id} cancelled")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.stem)
def test_no_command_hides_where_it_is_not_run(page: Path) -> None:
    """A command stands in a console block, or in a line of text; benchmarks may stand anywhere."""
    language, hidden = None, []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            language = None if language is not None else line.removeprefix("```").strip()
        elif language not in ("console", "python") and (line.startswith("    ") or language is not None):
            hidden += [line] if _COMMAND.match(line) else []
    assert hidden == []
