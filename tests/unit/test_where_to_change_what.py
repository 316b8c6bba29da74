"""The table *Where to change what* of the architecture names all places, and they are there."""

from __future__ import annotations

import re

import pytest

from tests.support.processes import ROOT

PRODUCT = ("app", "core", "launcher", "masktune", "models", "web", "worker")
_, _TABLE = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8").split("## Where to change what\n")
ROWS: dict[str, str] = dict(re.findall(r"^\| (an? .*|the .*) \| (.*) \|$", _TABLE, re.MULTILINE))
_PLACE = re.compile(r"(?:`([^`]+)`(?: and `([^`]+)`)? in )?`([\w./-]+\.(?:py|j2|md|json|yml))`")
EXAMPLES = {
    "a field of the report": r"(?i:\bconfusion\b|report_confusion)",
    "a format": r"(?i:\blabel_studio\b)",
    "a score": r"[\"`]minimum[\"`]",
    "an event of webhooks": r"WebhookEvent[.(]|model\.drifted",
    "a saliency method": r"\b(?:fullgrad|layercam)\b",
}
"""What a file that is a place of the row's example holds."""


def row(kind: str) -> str:
    (places,) = (places for title, places in ROWS.items() if title.startswith(f"{kind}, such as"))
    return places


def test_every_file_of_the_table_holds_what_the_row_says() -> None:
    places = [found.groups() for text in ROWS.values() for found in _PLACE.finditer(text)]
    assert len(places) > 50
    missing = [
        f"{name} in {path}"
        for *names, path in places
        for name in filter(None, names)
        if name not in (ROOT / path).read_text(encoding="utf-8")
    ]
    assert missing == []


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_row_names_every_place_of_its_example(kind: str) -> None:
    places = {path: names for *names, path in _PLACE.findall(row(kind))}
    found = {
        str(path.relative_to(ROOT))
        for package in PRODUCT
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".j2") and re.search(EXAMPLES[kind], path.read_text(encoding="utf-8"))
    }
    assert found - places.keys() == set(), "places that the row lacks"
    unnamed = {path for path, names in places.items() if not any(names)} - found
    texts = {path: (ROOT / path).read_text(encoding="utf-8") for path in unnamed}
    assert [path for path, text in texts.items() if not re.search(EXAMPLES[kind], text)] == []
