"""The addresses on the page are those that the libraries use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.backbones.build import list_backbones

pytestmark = pytest.mark.docs

PAGE = Path("docs/how-to/without-the-internet.md")


def test_the_page_has_the_libraries_addresses() -> None:
    rows = dict(
        re.findall(r"^\| `(\S+)` \| `(https://\S+)` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert len(rows) == 8
    addresses = {network.name: network.url for network in list_backbones()}
    assert {name: addresses[name] for name in rows} == rows
