"""The fields of a job's form, keyed by the JSON pointer that is used in the request and in its errors."""

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

from masktune import Dataset, FieldError, Job, Model, Preset
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.parameters import Bounds, dotted
from web.forms.estimate import Plan
from web.widgets import choice

Send = Callable[[Any], Any]
"""Converts a field's value to the value that is sent; None is omitted."""


@dataclass(frozen=True)
class Stock:
    """The objects offered as choices, newest first."""

    datasets: Mapping[str, Dataset]
    models: Sequence[Model]
    mask_sets: Sequence[Job]
    presets: Mapping[str, Preset]


@dataclass(frozen=True)
class Field:
    """One field of the form."""

    label: str
    element: ValueElement[Any]
    send: Send
    required: str = ""
    """The message if the field is empty; "" if it may be empty."""
    check: Callable[[Any], str] | None = None
    """Returns the message for an invalid value, "" for a valid one."""

    @property
    def empty(self) -> bool:
        """Whether the field is hidden or has no value."""
        value = self.element.value
        return not self.element.visible or value is None or value in ("", [])

    @property
    def sent(self) -> Any:
        """The value to send; None if the field is hidden, empty, or equivalent to being omitted."""
        return None if self.empty else self.send(self.element.value)

    @property
    def fault(self) -> str:
        """The error message of the field; "" if there is none."""
        if not self.element.visible:
            return ""
        if self.empty:
            return self.required
        return self.check(self.element.value) if self.check else ""


class Fields(ABC):
    """The fields of one kind of job. Each kind overrides `build` and `plan`.

    `carried` maps pointers to the values of the previous kind's fields; `changed` is called when a field
    that affects the cost changes.
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
        """What the job would do, for the cost estimate; None if not enough is chosen yet."""

    # --- their values ----------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """Values by pointer, to carry over to another kind."""
        return {pointer: field.element.value for pointer, field in self.at.items()}

    def sent(self) -> dict[str, Any]:
        """The request body: only the fields that were filled in."""
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
        """Required fields that are empty, and invalid values."""
        return [
            FieldError(pointer, "invalid", field.fault) for pointer, field in self.at.items() if field.fault
        ]

    def mark(self, faults: Sequence[FieldError]) -> tuple[list[Field], list[FieldError]]:
        """Show each fault beside its field. Returns those fields, and the faults that have no field."""
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
        """The field of this pointer or of the nearest parent: `/splits/0` belongs to `/splits`."""
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
        options: Mapping[Any, str],
        value: Any = "",
        *,
        required: str = "",
        search: bool = False,
    ) -> ui.select:
        """A choice of one option; "" leaves it to the service."""
        carried = self.carried.get(pointer)
        chosen = carried if carried in options else value
        found = choice(label, options, chosen, on_change=self.changed, search=search)
        self.at[pointer] = Field(label, found, _as_it_is, required)
        return found

    def number(
        self,
        pointer: str,
        label: str,
        send: Send,
        bounds: Bounds,
        *,
        value: float | None = None,
        hint: str = "automatic",
    ) -> ui.number:
        """A number; with `int` as `send`, only whole numbers are valid. A number out of bounds is reported
        and kept: NiceGUI's own bounds would replace it while the job is being started.
        """
        whole = send is int
        found = ui.number(
            label, value=self.carried.get(pointer, value), on_change=self.changed, placeholder=hint
        ).props(f"outlined dense stack-label step={'1' if whole else 'any'} debounce=300")
        self.at[pointer] = Field(label, found, send, check=partial(_misfit, bounds=bounds, whole=whole))
        return found

    def hyperparameter(self, pointer: str, label: str, *, hint: str = "automatic") -> ui.number:
        """A number with the type and the bounds of the hyperparameter that the pointer names."""
        parameter = dict(dotted(Hyperparameters))[pointer.strip("/").replace("/", ".")]
        return self.number(pointer, label, parameter.type, parameter.bounds, hint=hint)

    def text(self, pointer: str, label: str, options: Sequence[str]) -> ui.input:
        """A text field; `options` are suggestions, and other values are accepted too."""
        found = ui.input(
            label,
            value=self.carried.get(pointer) or "",
            placeholder="automatic",
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
        """The value that this field would send; None if the kind has no such field."""
        return self.at[pointer].sent if pointer in self.at else None

    def dataset(self) -> Dataset | None:
        return self.stock.datasets.get(str(self.value("/dataset")))

    def choose_dataset(self, value: str | None) -> ui.select:
        names = {d.id: d.name for d in self.stock.datasets.values()}
        return self.choose(
            "/dataset", "Data set", names, value, required="Choose a data set.", search=len(names) > 12
        )


def _misfit(value: float, *, bounds: Bounds, whole: bool) -> str:
    """The message for a number that is out of bounds or not whole; "" if it is valid."""
    if bounds.contain(value) and (not whole or float(value).is_integer()):
        return ""
    kind = "a whole number" if whole else "a number"
    return f"Enter {kind}: {bounds}."


def percent(value: float) -> float:
    """Convert a percentage to a share."""
    return round(value / 100, 6)


@contextmanager
def folded(title: str) -> Iterator[None]:
    """Collapse rarely needed fields under a title."""
    with ui.element("details").style("margin-top: 10px"):
        ui.html(title, tag="summary", sanitize=False)
        with ui.element("div").classes("form").style("margin-top: 10px"):
            yield


def _as_it_is(value: Any) -> Any:
    return value
