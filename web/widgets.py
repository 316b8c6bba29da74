"""Widgets that several pages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from nicegui import events, ui

from web.paging import Pager
from web.shell import button, notify_on_error
from web.transport.connection import link

T = TypeVar("T")


async def show_pages(pager: Pager[T], draw: Callable[[list[T]], object]) -> None:
    """Show a list page by page with buttons to turn pages; no buttons if it fits on one page."""
    holder = ui.element("div")
    entries = await pager.page()
    with holder:
        draw(entries)
    if not pager.more:
        return
    with ui.element("div").classes("pager"):
        back = button("Previous", lambda: turn(-1), "second")
        label = ui.label().props("aria-live=polite")
        forth = button("Next", lambda: turn(1), "second")

    def update() -> None:
        label.text = f"page {pager.number + 1}"
        back.set_enabled(pager.number > 0)
        forth.set_enabled(pager.more)

    @notify_on_error
    async def turn(by: int) -> None:
        entries = await pager.turn(by)
        holder.clear()
        with holder:
            draw(entries)
        update()

    update()


def set_query(path: str, **parameters: object) -> None:
    """Put the choices into the page's URL, so that it can be shared and survives a reload."""
    query = urlencode({name: choice for name, choice in parameters.items() if choice})
    ui.navigate.history.replace(link(path) + (f"?{query}" if query else ""))


def select_field(
    label: str,
    options: list[str] | Mapping[Any, str],
    chosen: Any = None,
    *,
    on_change: Callable[..., Any] | None = None,
    search: bool = False,
) -> ui.select:
    """A select field; `search` adds a text filter for long lists."""
    select = ui.select(
        options if isinstance(options, list) else dict(options),
        value=chosen,
        label=label,
        on_change=on_change,
        with_input=search,
    )
    return select.props(f'outlined dense options-dense behavior=menu aria-label="{label}"')


class Slider(ui.element):
    """The browser's native slider, which works with keyboards and screen readers. `on_move` is called as it
    moves."""

    def __init__(
        self, label: str, *, low: float, high: float, step: float, start: float, on_move: Callable[[], object]
    ) -> None:
        super().__init__("input")
        self.classes("slide").props(f'type=range min={low} max={high} step={step} aria-label="{label}"')
        # As an attribute ("^" in Vue), the value is only the initial position; as a property, every redraw of
        # the page would reset the slider.
        self.props["^value"] = start
        self.position = start
        self._on_move = on_move
        self.on("input", self._moved, throttle=0.06, js_handler="(event) => emit(Number(event.target.value))")

    def _moved(self, event: events.GenericEventArguments) -> None:
        self.position = float(event.args)
        self._on_move()
