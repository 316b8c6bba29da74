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

from masktune import Backbone, Dataset, FieldError, Job, Model, Preset
from masktune.contract.hyperparameters import MitigateConfig
from masktune.contract.hyperparameters.parameters import Bounds, dotted
from web.text import labels
from web.widgets import select_field

ToJson = Callable[[Any], Any]
"""Converts what is in a field to its value in the request; None is omitted."""


@dataclass(frozen=True)
class Choices:
    """The objects that a job may start from, newest first."""

    datasets: Mapping[str, Dataset]
    models: Sequence[Model]
    verdicts: Mapping[str, str]
    """Titles of the verdicts of jobs, by the id of the job."""
    mask_sets: Sequence[Job]
    presets: Mapping[str, Preset]
    backbones: list[Backbone]
    """All networks, those with the nearest weights first; empty until they have been listed."""


@dataclass(frozen=True)
class Field:
    """One field of the form."""

    label: str
    element: ValueElement[Any]
    to_json: ToJson
    required: str = ""
    """The message if the field is empty; "" if it may be empty."""
    check: Callable[[Any], str] | None = None
    """Returns the message for an invalid value, "" for a valid one."""

    @property
    def is_empty(self) -> bool:
        """Whether the field is hidden or has no value."""
        return not self.element.visible or self.element.value in (None, "", [])

    @property
    def json_value(self) -> Any:
        """The value in the request; None if the field is hidden, empty, or equivalent to being omitted."""
        return None if self.is_empty else self.to_json(self.element.value)

    @property
    def error(self) -> str:
        """The error message of the field; "" if there is none."""
        if not self.element.visible:
            return ""
        if self.is_empty:
            return self.required
        return self.check(self.element.value) if self.check else ""


class Fields(ABC):
    """The fields of one kind of job. Each kind overrides `build`.

    `initial` maps pointers to the values of the previous kind's fields; `on_change` is called when a field
    that affects the cost changes.
    """

    takes_unlabelled = False
    """Whether the kind needs no labels."""

    def __init__(self, choices: Choices, initial: Mapping[str, Any], on_change: Callable[..., Any]) -> None:
        self.choices, self.initial, self.on_change = choices, initial, on_change
        self.by_pointer: dict[str, Field] = {}
        self.others: Mapping[str, Any] = {}
        """Values in the request, by pointer, that have no field here."""
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Draw the fields."""

    # --- their values ----------------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """Values by pointer, to carry over to another kind."""
        return {pointer: field.element.value for pointer, field in self.by_pointer.items()}

    def request_body(self) -> dict[str, Any]:
        """The fields that were filled in, and the others."""
        body: dict[str, Any] = {}
        own = {pointer: field.json_value for pointer, field in self.by_pointer.items()}
        for pointer, entry in {**self.others, **own}.items():
            if entry is not None:
                *groups, name = pointer.strip("/").split("/")
                inner = body
                for group in groups:
                    inner = inner.setdefault(group, {})
                inner[name] = entry
        return body

    def errors(self) -> list[FieldError]:
        """Required fields that are empty, and invalid values."""
        return [
            FieldError(pointer, "invalid", field.error)
            for pointer, field in self.by_pointer.items()
            if field.error
        ]

    def mark(self, errors: Sequence[FieldError]) -> tuple[list[Field], list[FieldError]]:
        """Show each error beside its field. Returns those fields, and the errors that have no field."""
        marked, others = [], []
        for error in errors:
            field = self._field(error.pointer)
            if field is None or not isinstance(field.element, ValidationElement):
                others.append(error)
                continue
            field.element.error = error.detail
            marked.append(field)
        return marked, others

    def _field(self, pointer: str) -> Field | None:
        """The field of this pointer or of the nearest parent: `/splits/0` belongs to `/splits`."""
        while pointer:
            if pointer in self.by_pointer and self.by_pointer[pointer].element.visible:
                return self.by_pointer[pointer]
            pointer = pointer.rpartition("/")[0]
        return None

    # --- how they are drawn ----------------------------------------------------------------------

    def choose(
        self,
        pointer: str,
        label: str,
        options: Mapping[Any, str],
        default: Any = "",
        *,
        required: str = "",
        search: bool = False,
    ) -> ui.select:
        """A choice of one option; "" leaves it to the service. What an earlier job was given is an option."""
        initial = self.initial.get(pointer)
        if initial is not None and not required:
            options = {**options, initial: options.get(initial, str(initial))}
        chosen = initial if initial in options else default
        select = select_field(label, options, chosen, on_change=self.on_change, search=search)
        self.by_pointer[pointer] = Field(label, select, lambda option: option, required)
        return select

    def number(
        self,
        pointer: str,
        label: str,
        to_json: ToJson,
        bounds: Bounds,
        *,
        default: float | None = None,
        hint: str = "automatic",
    ) -> ui.number:
        """A number; with `int` as `to_json`, only whole numbers are valid. A number out of bounds is reported
        and kept: NiceGUI's own bounds would replace it while the job is being started.
        """
        whole = to_json is int
        initial = self.initial.get(pointer, default)
        number = ui.number(label, value=initial, on_change=self.on_change, placeholder=hint)
        number.props(f"outlined dense stack-label step={'1' if whole else 'any'} debounce=300")
        check = partial(_bounds_error, bounds=bounds, whole=whole)
        self.by_pointer[pointer] = Field(label, number, to_json, check=check)
        return number

    def hyperparameter(self, pointer: str, label: str, *, hint: str = "automatic") -> ui.number:
        """A number with the type and the bounds of the hyperparameter that the pointer names."""
        parameter = dict(dotted(MitigateConfig))[pointer.strip("/").replace("/", ".")]
        return self.number(pointer, label, parameter.type, parameter.bounds, hint=hint)

    def switch(self, pointer: str, label: str, to_json: ToJson, *, default: bool = False) -> ui.switch:
        switch = ui.switch(label, value=self.initial.get(pointer, default), on_change=self.on_change)
        self.by_pointer[pointer] = Field(label, switch, to_json)
        return switch

    def value(self, pointer: str) -> Any:
        """The value that this field would send; None if the kind has no such field."""
        return self.by_pointer[pointer].json_value if pointer in self.by_pointer else None

    def dataset(self) -> Dataset | None:
        return self.choices.datasets.get(str(self.value("/dataset")))

    def choose_dataset(self, default: str | None) -> ui.select:
        listed = self.choices.datasets.values()
        names = {d.id: d.name for d in listed if d.labelled or self.takes_unlabelled}
        default = default if default in names else None
        return self.choose(
            "/dataset", "Data set", names, default, required="Choose a data set.", search=len(names) > 12
        )

    def offer_backbones(self) -> None:
        """Update the choice of a network, if the kind has one, after the networks have been listed."""
        field = self.by_pointer.get("/backbone")
        if field is not None and isinstance(field.element, ui.select):
            field.element.set_options(self.backbones())

    def backbones(self) -> dict[str, str]:
        """Networks by name; a job may have named one with its library, where the list has the plain name."""
        options = {"": "automatic"}
        if initial := self.initial.get("/backbone"):
            options[initial] = initial
        options |= {
            b.name: f"{b.name} · {labels.WEIGHTS_PLACES.get(b.weights, b.weights)}"
            for b in self.choices.backbones
        }
        return options


def _bounds_error(number: float, *, bounds: Bounds, whole: bool) -> str:
    """The message for a number that is out of bounds or not whole; "" if it is valid."""
    if bounds.contain(number) and (not whole or float(number).is_integer()):
        return ""
    kind = "a whole number" if whole else "a number"
    return f"Enter {kind}: {bounds}."


def percent(percentage: float) -> float:
    """Convert a percentage to a share."""
    return round(percentage / 100, 6)


@contextmanager
def collapsible(title: str) -> Iterator[None]:
    """Collapse rarely needed fields under a title."""
    with ui.element("details").style("margin-top: 10px"):
        ui.html(title, tag="summary", sanitize=False)
        with ui.element("div").classes("form").style("margin-top: 10px"):
            yield
