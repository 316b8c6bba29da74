"""Widgets that several pages share: lists page by page, filtered or not, and fields."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from nicegui import events, ui
from nicegui.elements.mixins.value_element import ValueElement

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


SINCE = {"": "any time"} | {str(days): f"in the last {days} days" for days in (2, 7, 30, 365)}


class FilteredList(Generic[T]):
    """A list under its fields, drawn anew when one of them changes.

    `entries` is the client's operation: the fields are named after its filters. `fixed` are further ones.
    """

    def __init__(
        self,
        path: str,
        entries: Callable[..., AsyncIterator[T]],
        draw_page: Callable[[list[T]], object],
        *,
        per_page: int,
        **fixed: str,
    ) -> None:
        self.path, self.entries, self.draw_page, self.per_page = path, entries, draw_page, per_page
        self.fixed = fixed
        self.form = ui.element("div").classes("form").style("margin-bottom: 16px")
        self.fields: dict[str, ValueElement[Any]] = {}
        self.changes = 0
        """Counts the changes of filters, so that only the last one is drawn."""

    def choose(self, name: str, label: str, options: Mapping[str, str], chosen: str) -> None:
        """Add a choice; "" filters nothing."""
        with self.form:
            self.fields[name] = select_field(
                label,
                options,
                chosen if chosen in options else "",
                on_change=self.filter,
                search=len(options) > 13,  # longer than a glance takes in
            )

    def write(self, name: str, label: str, text: str, *, placeholder: str = "") -> ui.input:
        """Add a field for a text; an empty one filters nothing."""
        with self.form:
            field = ui.input(label, value=text, on_change=self.filter)
        self.fields[name] = field.props(f'outlined dense debounce=400 aria-label="{label}"')
        if placeholder:
            field.props(f'stack-label maxlength=200 placeholder="{placeholder}"')
        return field

    async def build(self, q: str, since: str) -> None:
        """Add the fields of what is listed with its age, then the list."""
        self.choose("since", "Created", SINCE, since)
        self.write("q", "Search", q, placeholder="in name, id and notes")
        await self.show()

    async def show(self) -> None:
        """Draw the list under its fields."""
        self.holder = ui.element("div")
        await self.draw(await self.newest())

    @property
    def choices(self) -> dict[str, str]:
        """What filters the list, as the page's address has it."""
        return self.fixed | {name: str(one.value) for name, one in self.fields.items() if one.value}

    async def newest(self) -> Pager[T]:
        """The list from its newest entry, with its first page read."""
        filters: dict[str, Any] = self.choices
        if days := filters.pop("since", None):
            filters["created_after"] = datetime.now(UTC) - timedelta(days=int(days))
        pager = Pager(self.entries(limit=self.per_page + 1, **filters), self.per_page)
        await pager.page()
        return pager

    async def draw(self, pager: Pager[T]) -> None:
        self.pager = pager
        self.holder.clear()
        with self.holder:
            await show_pages(pager, self.draw_page)

    @notify_on_error
    async def filter(self, *_: object) -> None:
        """Draw the list as the fields now filter it."""
        self.changes += 1
        change = self.changes
        set_query(self.path, **self.choices)
        pager = await self.newest()
        if change == self.changes:  # no field has changed while the service answered
            await self.draw(pager)
