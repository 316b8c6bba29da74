"""The golden texts: what is printed where people read it, each with its file in `texts`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from nicegui import Client as Page
from nicegui import ui
from starlette.requests import Request

from app.reports.service import render as render_page
from masktune import OwnKey
from masktune.cli.report import render as render_terminal
from masktune.cli.terminal import Terminal
from masktune.contract.report import Report
from tests.golden_texts.cards import cards
from tests.golden_texts.drawings import drawings
from tests.golden_texts.reports import NAMES, golden_report
from tests.golden_texts.sentences import sentences
from tests.golden_texts.visible_text import visible_text
from tests.support.answers import JOB
from tests.support.stub_api import stub_api
from web.pages import report as report_page
from web.shell import render
from web.transport.connection import connect

FOLDER = Path(__file__).with_name("texts")
COLUMNS = 100
"""Of the terminal."""


def on_terminal(report: Report) -> str:
    segments = Terminal(width=COLUMNS).render(render_terminal(report))
    return "\n".join(line.rstrip() for line in "".join(one.text for one in segments).splitlines())


def on_page(report: Report) -> str:
    return visible_text(render_page(report, lambda name: name))


def on_dashboard(report: Report) -> str:
    """Built as for a visitor who may do everything."""
    state = {"own_key": OwnKey(scopes=["read", "train", "admin"])}
    request = Request({"type": "http", "path": "/", "headers": [], "query_string": b"", "state": state})

    async def parts() -> list[str]:
        with Page(ui.page(""), request=request) as page:
            await inspect.unwrap(report_page.show)(report.job)
        texts = [f"title: {page.title}"]
        for element in page.content.descendants():
            texts += [visible_text(element.content)] if isinstance(element, ui.html) else []
            texts += [f"[{element.text}]"] if isinstance(element, ui.button) else []
        return texts

    with stub_api() as api:
        api.answers[f"/jobs/{report.job}/report"] = 200, report.model_dump(mode="json")
        api.answers[f"/jobs/{report.job}"] = 200, JOB | {"id": report.job}
        connect(api.url)
        return "\n".join(filter(None, asyncio.run(parts())))


PLACES: Mapping[str, Callable[[Report], str]] = {
    "terminal": on_terminal,
    "page": on_page,
    "dashboard": on_dashboard,
}


def _of_report(name: str) -> Iterable[tuple[str, str]]:
    report = golden_report(name)
    return ((place, text_on(report)) for place, text_on in PLACES.items())


def _drawn() -> Iterable[tuple[str, str]]:
    return ((name, visible_text(render(name, link=str, **values))) for name, values in drawings())


_PARTS: Mapping[str, Callable[[], Iterable[tuple[str, str]]]] = {
    **{name: partial(_of_report, name) for name in NAMES},
    "cards": cards,
    "sentences": sentences,
    "drawings": _drawn,
}
TEXTS = tuple(_PARTS)


def text_of(name: str) -> str:
    """What is printed now."""
    parts = ((title, text.strip("\n")) for title, text in _PARTS[name]())
    return "\n".join(f"===== {title}\n{text}\n" for title, text in parts)


def file_of(name: str) -> Path:
    return FOLDER / f"{name}.txt"
