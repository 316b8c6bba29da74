"""The fields of a job's form: each under the JSON pointer that it is sent by, and that names its faults."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.elements.mixins.validation_element import ValidationElement
from nicegui.elements.mixins.value_element import ValueElement

from client import Dataset, FieldError, Job, Model, Preset
from web.estimate import Plan
from web.widgets import choice

Send = Callable[[Any], Any]
"""From what stands in a field to what is sent; None is left out."""


@dataclass(frozen=True)
class Stock:
    """What may be chosen from, newest first."""

    datasets: Mapping[str, Dataset]
    models: Sequence[Model]
    mask_sets: Sequence[Job]
    presets: Mapping[str, Preset]


@dataclass(frozen=True)
class Field:
    """One field of the page."""

    label: str
    element: ValueElement[Any]
    send: Send
    required: str = ""
    """What is said when it is empty; nothing where it may be."""
    check: Callable[[Any], str] | None = None
    """What is said of a value that cannot be."""

    @property
    def empty(self) -> bool:
        """Whether nothing stands in it that counts."""
        value = self.element.value
        return not self.element.visible or value is None or value in ("", [])

    @property
    def sent(self) -> Any:
        """What of it is sent: nothing where it is hidden, empty, or as good as left out."""
        return None if self.empty else self.send(self.element.value)

    @property
    def fault(self) -> str:
        """What is wrong with it; nothing where all is well."""
        if not self.element.visible:
            return ""
        if self.empty:
            return self.required
        return self.check(self.element.value) if self.check else ""


class Fields(ABC):
    """The fields of one kind of job. A kind varies `build` and `plan`.

    `carried` holds what stood in the fields of the kind before, by pointer; `changed` is called when a
    field that the cost depends on changes.
    """

    def __init__(self, stock: Stock, carried: Mapping[str, Any], changed: Callable[..., Any]) -> None:
        self.stock, self.carried, self.changed = stock, carried, changed
        self.at: dict[str, Field] = {}
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Draw the fields."""

    @abstractmethod
    def plan(self) -> Plan | None:
        """What the job would do, for its cost; None where too little is chosen."""

    # --- what stands in them ---------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """By pointer, to be carried over to another kind."""
        return {pointer: field.element.value for pointer, field in self.at.items()}

    def sent(self) -> dict[str, Any]:
        """The body of the request: the fields that somebody filled, and no others."""
        found: dict[str, Any] = {}
        for pointer, field in self.at.items():
            value = field.sent
            if value is not None:
                *groups, name = pointer.strip("/").split("/")
                inner = found
                for group in groups:
                    inner = inner.setdefault(group, {})
                inner[name] = value
        return found

    def faults(self) -> list[FieldError]:
        """What must be filled and is not, and what cannot be."""
        return [
            FieldError(pointer, "invalid", field.fault) for pointer, field in self.at.items() if field.fault
        ]

    def mark(self, faults: Sequence[FieldError]) -> tuple[list[Field], list[FieldError]]:
        """Say each fault beside its field. Returns those fields, and the faults that have none."""
        marked, others = [], []
        for fault in faults:
            field = self._named(fault.pointer)
            if field is None or not isinstance(field.element, ValidationElement):
                others.append(fault)
                continue
            field.element.error = fault.detail
            marked.append(field)
        return marked, others

    def _named(self, pointer: str) -> Field | None:
        """The field of this pointer, or of what it is a part of: `/splits/0` is a fault of `/splits`."""
        while pointer:
            if pointer in self.at and self.at[pointer].element.visible:
                return self.at[pointer]
            pointer = pointer.rpartition("/")[0]
        return None

    # --- how they are drawn ----------------------------------------------------------------------

    def choose(
        self,
        pointer: str,
        label: str,
        options: Mapping[str, str],
        value: str | None = "",
        *,
        required: str = "",
        search: bool = False,
    ) -> ui.select:
        """One of several; "" is left to the service."""
        carried = self.carried.get(pointer)
        chosen = carried if carried in options else value
        found = choice(label, options, chosen, on_change=self.changed, search=search)
        self.at[pointer] = Field(label, found, _as_it_is, required)
        return found

    def number(
        self,
        pointer: str,
        label: str,
        send: Send = float,
        *,
        low: float | None = None,
        high: float | None = None,
        value: float | None = None,
        hint: str = "the service chooses",
    ) -> ui.number:
        """A number; `send` of `int` allows whole ones only. One out of bounds is said to be, and kept:
        NiceGUI's own bounds would put another in its place while the job is started.
        """
        whole = send is int
        found = ui.number(
            label, value=self.carried.get(pointer, value), on_change=self.changed, placeholder=hint
        ).props(f"outlined dense stack-label step={'1' if whole else 'any'} debounce=300")
        self.at[pointer] = Field(label, found, send, check=partial(_misfit, low=low, high=high, whole=whole))
        return found

    def text(self, pointer: str, label: str, options: Sequence[str]) -> ui.input:
        """A word; `options` are offered, and others are taken as well."""
        found = ui.input(
            label,
            value=self.carried.get(pointer) or "",
            placeholder="the service chooses",
            autocomplete=list(options),
            on_change=self.changed,
        ).props("outlined dense stack-label debounce=300")
        self.at[pointer] = Field(label, found, lambda value: str(value).strip() or None)
        return found

    def switch(self, pointer: str, label: str, send: Send, *, value: bool = False) -> ui.switch:
        found = ui.switch(label, value=self.carried.get(pointer, value), on_change=self.changed)
        self.at[pointer] = Field(label, found, send)
        return found

    def value(self, pointer: str) -> Any:
        """What of this field would be sent; None where the kind has no such field."""
        return self.at[pointer].sent if pointer in self.at else None

    def dataset(self) -> Dataset | None:
        return self.stock.datasets.get(str(self.value("/dataset")))

    def choose_dataset(self, value: str | None) -> ui.select:
        names = {d.id: d.name for d in self.stock.datasets.values()}
        return self.choose(
            "/dataset", "Data set", names, value, required="Choose a data set.", search=len(names) > 12
        )


def _misfit(value: float, *, low: float | None, high: float | None, whole: bool) -> str:
    """What a number must be, where it is not."""
    fits = (low is None or value >= low) and (high is None or value <= high)
    if fits and (not whole or float(value).is_integer()):
        return ""
    kind = "a whole number" if whole else "a number"
    bounds = f" from {low:g}" if low is not None else ""
    return f"Give {kind}{bounds}{f' to {high:g}' if high is not None else ''}."


def percent(value: float) -> float:
    """A percentage as a share."""
    return round(value / 100, 6)


@contextmanager
def folded(title: str) -> Iterator[None]:
    """Fields that few people need, behind their title."""
    with ui.element("details").style("margin-top: 10px"):
        ui.html(title, tag="summary", sanitize=False)
        with ui.element("div").classes("form").style("margin-top: 10px"):
            yield


def _as_it_is(value: Any) -> Any:
    return value
