"""The contract with clients changes on purpose only."""

from __future__ import annotations

from difflib import unified_diff
from itertools import islice

import pytest

from tests.openapi import SNAPSHOT, document

MOST_LINES = 60


def test_the_document_is_that_of_the_snapshot() -> None:
    kept, found = SNAPSHOT.read_text(encoding="utf-8"), document()
    if kept != found:
        lines = unified_diff(kept.splitlines(), found.splitlines(), "tests/openapi.json", "now", lineterm="")
        told = "\n".join(islice(lines, MOST_LINES))
        pytest.fail(f"if this change is meant, `make openapi` and commit it:\n{told}", pytrace=False)
