"""The README's commands, typed in their order by a newcomer at a service of their own, which has no key."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import ROOT
from tests.acceptance.docs_console import read
from tests.acceptance.docs_service import reading

pytestmark = pytest.mark.docs


@pytest.mark.slow
def test_the_readme_does_what_it_says(tmp_path: Path) -> None:
    with reading(tmp_path, key=None) as reader:
        assert list(read(ROOT / "README.md", reader)) == []
    assert "</html>" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
