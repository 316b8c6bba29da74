"""docs/SECURITY.md: it begins with whom it defends against; each attack has tests, which are there."""

from __future__ import annotations

import re
from functools import cache

import pytest

from docs.package_picture import ROOT

PAGE = (ROOT / "docs/SECURITY.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.partition("## Attack by attack")[2].partition("\n## ")[0].splitlines()
    if line.startswith("| ")
][1:]
FILES = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")]


@cache
def names_of_tests() -> frozenset[str]:
    texts = [(ROOT / file).read_text(encoding="utf-8") for file in FILES]
    return frozenset(name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE))


def test_the_model_of_threats_is_in_the_first_twenty_lines() -> None:
    beginning = PAGE.splitlines()[:20]
    for word in ("**Assets:**", "**Trusted:**", "**Out of scope:**", "who attacks", "`train` key"):
        assert any(word in line for line in beginning), word


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:50])
def test_an_attack_has_tests_and_all_of_them_are_there(row: list[str]) -> None:
    _, _, tests = row
    names = re.findall(r"`([^`]+)`", tests)
    starts = [name.removesuffix("…") for name in names if not name.endswith((".py", "/"))]
    paths = [name for name in names if name.endswith(".py")]
    assert starts or paths
    assert [start for start in starts if not any(test.startswith(start) for test in names_of_tests())] == []
    assert [path for path in paths if not any(f"/{file}".endswith(f"/{path}") for file in FILES)] == []
