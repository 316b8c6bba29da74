"""The documentation in the dashboard: each page has one, and each link leads to a page and to a section."""

from __future__ import annotations

import posixpath
import re

from nicegui import app as pages_app

import web.app  # noqa: F401  # it registers the pages
from web.text.manual import DOCS, HELP, manual_page


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


def test_links_lead_to_pages_and_sections_that_are_there() -> None:
    names = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))]
    pages = {name: html for name in names if (html := manual_page(name))}
    assert len(pages) > 20
    missing = [f"{name}: {link}" for name, html in pages.items() for link in missing_links(name, html)]
    assert missing == []
    assert [name for name, html in pages.items() if re.search("```|<!-- generated", html)] == []


def missing_links(name: str, html: str) -> list[str]:
    """Where the links and pictures of a page lead to nothing."""

    def within(link: str) -> str:
        return posixpath.normpath(posixpath.join(posixpath.dirname(name), link))

    links = [
        link if link[0] != "#" else posixpath.basename(name) + link
        for link in re.findall('href="(.*?)"', html)
    ]
    targets = [within(link) for link in links if ":" not in link]
    pictures = map(within, re.findall('src="(.*?)"', html))
    return [target for target in targets if not is_there(target)] + [
        picture for picture in pictures if not (DOCS / picture).is_file()
    ]


def test_a_link_to_a_file_that_is_no_page_is_its_words_alone() -> None:
    outside = "how-to/single-sign-on.md"
    assert "deploy/caddy/Caddyfile)" in (DOCS / outside).read_text()
    assert "deploy/caddy/Caddyfile" not in re.sub(r">[^<]*<", "", manual_page(outside))
    assert 'href="how-to/keys.md"' in manual_page("index.md")
    assert manual_page("contributing.md") == manual_page("../README.md") == ""
