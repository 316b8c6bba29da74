"""The commands of the README and of the architecture's walk, typed in their order by a newcomer.

Each page has a service of its own, which has no key.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.docs_service import reading
from tests.acceptance.test_docs import WALK
from tests.support.docs.console import read
from tests.support.processes import ROOT

pytestmark = pytest.mark.docs


@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / "README.md", WALK], ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    with reading(tmp_path, key=None) as reader:
        assert list(read(page, reader)) == []
    assert "</html>" in (tmp_path / "report.html").read_text()
