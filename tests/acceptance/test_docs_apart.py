"""The pages of the documentation that need no trained model, typed at a service of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.docs_console import Reader, read
from tests.acceptance.docs_pages import Command
from tests.acceptance.docs_service import reading
from tests.acceptance.test_docs import APART, RUN


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Has the tutorial's images, and uploaded them: there is something to save and to move."""
    with reading(tmp_path_factory.mktemp("docs")) as made:
        made_and_sent = "python examples/painted_digits.py squares && masktune datasets add squares/digits"
        told, code = made.type(Command(0, made_and_sent))
        assert code == 0, told
        yield made


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [page for page in RUN if page.name in APART], ids=lambda page: page.stem)
def test_a_page_does_what_it_says(page: Path, reader: Reader) -> None:
    assert list(read(page, reader)) == []
