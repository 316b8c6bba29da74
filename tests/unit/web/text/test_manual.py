"""The documentation in the dashboard: each page has one, and each link leads to a page and to a section."""

from __future__ import annotations

import posixpath
import re

import pytest
from nicegui import app as pages_app

import web.app  # noqa: F401  # it registers the pages
from web.text.manual import DOCS, HELP, manual_page

NAMES = [
    name for path in sorted(DOCS.rglob("*.md")) if manual_page(name := path.relative_to(DOCS).as_posix())
]


def is_there(target: str) -> bool:
    page, _, section = target.partition("#")
    return bool(manual_page(page)) and (not section or f'id="{section}"' in manual_page(page))


def test_each_page_of_the_dashboard_has_its_page_of_the_documentation() -> None:
    paths = {str(getattr(route, "path", "")) for route in pages_app.routes}
    assert HELP.keys() <= paths
    assert {
        path for path in paths if re.match("/(compare|datasets|jobs|models|new|storage|try)", path)
    } <= HELP.keys()
    assert [target for target in HELP.values() if not is_there(target)] == []


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_pages_and_sections_that_are_there(name: str) -> None:
    html = manual_page(name)
    assert not re.search("```|<!-- generated", html)
    links = [
        link if link[0] != "#" else posixpath.basename(name) + link
        for link in re.findall('href="(.*?)"', html)
    ]
    targets = [
        posixpath.normpath(posixpath.join(posixpath.dirname(name), link)) for link in links if ":" not in link
    ]
    assert [target for target in targets if not is_there(target)] == []
    pictures = [
        posixpath.join(posixpath.dirname(name), picture) for picture in re.findall('src="(.*?)"', html)
    ]
    assert all((DOCS / picture).is_file() for picture in pictures)


def test_a_link_to_a_file_that_is_no_page_is_its_words_alone() -> None:
    outside = "how-to/single-sign-on.md"
    assert "deploy/caddy/Caddyfile)" in (DOCS / outside).read_text()
    assert "deploy/caddy/Caddyfile" not in re.sub(r">[^<]*<", "", manual_page(outside))
    assert 'href="how-to/keys.md"' in manual_page("index.md")
    assert manual_page("contributing.md") == manual_page("../README.md") == ""
