"""The documentation builds without a warning, needs no network, and tells of everything that there is."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer

from app.operations.metrics import Metrics
from core.settings import Settings
from masktune import Client
from masktune.cli.main import app as commands
from masktune.client.resource import Listing, Operation, Resource
from masktune.contract.problems import ErrorCode
from tests.machine import needs
from tests.openapi import snapshot

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from scratch, in a process of its own; a broken link is a warning, and a warning fails."""
    needs("sphinx")
    target = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        "docs",
        str(target),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def text(page: Path) -> str:
    """What a reader sees: of the page itself, without the navigation."""
    body = page.read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", body)).split())


def headings(page: Path) -> set[str]:
    found = re.findall(r"<h[123]>(.*?)<a class=\"headerlink", page.read_text(encoding="utf-8"))
    return {html.unescape(re.sub(r"<[^>]+>", "", one)).strip() for one in found}


def missing(page: Path, names: list[str]) -> list[str]:
    """The names that do not stand in the page as words of their own."""
    shown = text(page)
    return [name for name in names if not re.search(rf"(?<![\w/-]){re.escape(name)}(?![\w-])", shown)]


def test_every_setting_is_there(site: Path) -> None:
    names = [f"MASKTUNE_{name.upper()}" for name in Settings.model_fields]
    clients = ["MASKTUNE_URL", "MASKTUNE_KEY", "MASKTUNE_WEB_HOST", "MASKTUNE_WEB_PORT"]
    clients += ["MASKTUNE_CA_FILE"]
    assert missing(site / "reference/settings.html", names + clients) == []


def test_every_route_and_shape_is_there(site: Path) -> None:
    document = snapshot()
    routes = {f"{method.upper()} {path}" for path, ops in document["paths"].items() for method in ops}
    found = headings(site / "reference/api.html")
    assert routes - found == set()
    shapes = {name for name in document["components"]["schemas"] if "__" not in name and name[-1] != "_"}
    assert shapes - found == set()


def test_every_command_is_there_with_its_options(site: Path) -> None:
    paths: list[str] = []
    options: set[str] = set()
    waiting: list[tuple[str, Any]] = [("masktune", typer.main.get_command(commands))]
    while waiting:
        path, command = waiting.pop()
        inner = getattr(command, "commands", {})
        waiting += [(f"{path} {name}", each) for name, each in inner.items()]
        if not inner:
            paths.append(path)
            options |= {o for p in command.params for o in p.opts if not p.hidden and o.startswith("--")}
    assert set(paths) - headings(site / "reference/commands.html") == set()
    assert missing(site / "reference/commands.html", sorted(options - {"--help"})) == []


def test_every_metric_is_there(site: Path) -> None:
    rendered = Metrics().render().decode()
    names = [
        name
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", rendered, re.MULTILINE)
        if not name.endswith("_created")
    ]
    assert names
    assert missing(site / "reference/metrics.html", names) == []


def test_every_problem_is_there(site: Path) -> None:
    names = [code.value for code in ErrorCode]
    assert missing(site / "reference/problems.html", names) == []


def test_every_preset_is_there(site: Path) -> None:
    names = {path.stem for path in (ROOT / "presets").glob("*.toml")}
    assert names - headings(site / "reference/presets.html") == set()


def test_every_operation_of_the_client_is_there(site: Path) -> None:
    shown = text(site / "reference/client.html")
    with Client() as client:
        for name, resource in vars(client).items():
            if not isinstance(resource, Resource):
                continue
            assert f"client.{name}" in shown
            operations = [
                n for n, one in vars(type(resource)).items() if isinstance(one, Operation | Listing)
            ]
            assert [operation for operation in operations if f"{operation}(" not in shown] == []


class _Fetched(HTMLParser):
    """What a browser fetches to show a page; links are followed by people."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag != "a":
            self.addresses += [str(found[name]) for name in ("src", "href", "data") if found.get(name)]


def test_a_reader_needs_no_network(site: Path) -> None:
    fetched = _Fetched()
    for page in site.rglob("*.html"):
        fetched.feed(page.read_text(encoding="utf-8"))
    assert len(fetched.addresses) > 100
    assert [address for address in fetched.addresses if "//" in address and address[:5] != "data:"] == []
    for sheet in (site / "_static").rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), (
            sheet
        )


def test_no_place_is_left_unfilled(site: Path) -> None:
    for page in (site / "reference").glob("*.html"):
        assert "<!-- generated:" not in page.read_text(encoding="utf-8")
        assert len(text(page)) > 1_000, page
