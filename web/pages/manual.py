"""A page of the documentation, in the frame of the dashboard."""

from __future__ import annotations

from nicegui import ui

from masktune import ProblemError
from web.shell import page
from web.text.manual import manual_page


@page("/help/{name:path}.md", "Help")
async def show(name: str) -> None:
    text = manual_page(f"{name}.md")
    if not text:
        raise ProblemError({"detail": "the documentation has no such page"}, status=404)
    ui.html(text, sanitize=False).classes("manual")
    # The browser looked for the section before the page was drawn.
    ui.run_javascript("document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView()")
