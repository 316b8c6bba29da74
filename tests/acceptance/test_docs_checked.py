"""Every command that the documentation names and no test types: what it names is there and spelt right."""

from __future__ import annotations

import pytest

from tests.acceptance.docs_checks import Wrong, check
from tests.support.docs.pages import blocks, named
from tests.support.processes import ROOT

pytestmark = pytest.mark.docs

PAGES = [
    *sorted(page for folder in ("docs", "research") for page in (ROOT / folder).rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "deploy/README.md")),
]
NOT_RUN = [
    pytest.param(command.text, id=f"{page.relative_to(ROOT)}:{command.line}")
    for page in PAGES
    for command in [c for b in blocks(page) if b.not_run is not None for c in b.commands] + named(page)
]


@pytest.mark.parametrize("command", NOT_RUN)
def test_a_command_that_is_not_run_could_be(command: str) -> None:
    check(command)


@pytest.mark.parametrize(
    "command",
    [
        "masktune serve --prot 0",
        "masktune jobs begin masktune",
        "MASKTUNE_DEVISE=cpu masktune worker",
        "make instal",
        "python -m benchmarks.selective --no-simulations",
        "python -m research.biased_mnist --mnist DIR --seeds one",
        "docker compose --profile gpus up",
        "docker compose up --scale workers=4",
        "docker compose exec -T apis masktune backup saved",
        "docker compose run --rm --volume saved:/saved api masktune restor /saved",
        "docker compose cp apis:/data/saved saved",
        "kubectl -n masktune apply -k deploy/kubernetes/bases",
        'pip install "masktune-service[s4]"',
        "pip install ./packaging/mask",
        "brew install masktune",
    ],
)
def test_the_check_itself_finds_a_misspelt_command(command: str) -> None:
    """A check that lets everything pass would look the same as one that found nothing."""
    with pytest.raises(Wrong):
        check(command)
