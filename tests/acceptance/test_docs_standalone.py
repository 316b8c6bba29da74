"""The pages of the documentation that start all that they need, typed where nothing runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.docs_service import reading
from tests.acceptance.test_docs import APART, RUN
from tests.support.docs.console import read

pytestmark = pytest.mark.docs


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUN if page.name in APART], ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    with reading(tmp_path, serves=False) as reader:
        assert list(read(page, reader)) == []
