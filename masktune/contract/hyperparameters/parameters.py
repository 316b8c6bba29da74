"""How parameters are declared: frozen dataclasses whose annotations state bounds and a description.

`Parameters` reads and writes them as strict JSON, and `declared` lists them for whoever derives a request, a
form or a help text. Standard library only: the learning code, which has no web framework, imports this.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self


class ConfigError(ValueError):
    """A parameter that cannot be used. `pointer` is its JSON pointer (RFC 6901)."""

    reason: ClassVar[str] = "invalid_parameters"

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{pointer}: {message}")
        self.pointer = pointer
        self.message = message


@dataclass(frozen=True)
class Bounds:
    """The interval of a number, or of each number of a list; `min_length` and `max_length` of a list."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    min_length: int | None = None
    max_length: int | None = None

    def contain(self, number: float) -> bool:
        """Whether the number lies in the interval; NaN lies in none that has an end."""
        return (
            (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
        )

    def fit(self, length: int) -> bool:
        return (self.min_length or 0) <= length and (self.max_length is None or length <= self.max_length)

    def __str__(self) -> str:
        """The interval in words: `at least 1 and at most 10000`."""
        ends: list[tuple[str, float | None]] = [
            ("at least", self.ge),
            ("above", self.gt),
            ("at most", self.le),
            ("below", self.lt),
        ]
        return " and ".join(f"{word} {_plain(end)}" for word, end in ends if end is not None)


def _plain(end: float) -> str:
    return f"{end:,}" if isinstance(end, int) else f"{end:g}"


@dataclass(frozen=True)
class Doc:
    """The description of a parameter, for people who set it."""

    text: str


@dataclass(frozen=True)
class Parameter:
    """One declared parameter. `type` is without None, of which `nullable` tells."""

    type: Any
    nullable: bool
    default: Any
    bounds: Bounds
    doc: str

    @property
    def nested(self) -> type[Parameters] | None:
        """The parameters that this one groups, if it is a group."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, Parameters) else None

    @property
    def options(self) -> tuple[Any, ...]:
        """The types that a union allows; `type` alone for everything else."""
        return typing.get_args(self.type) if typing.get_origin(self.type) is typing.Union else (self.type,)

    @property
    def element(self) -> Any:
        """The type of the elements of a list; None for everything else."""
        return typing.get_args(self.type)[0] if typing.get_origin(self.type) is tuple else None


@dataclass(frozen=True)
class Parameters:
    """The base of declared parameters. Construction checks the bounds and raises `ConfigError`."""

    group: ClassVar[str] = ""
    """JSON pointer of this object within a request."""

    def __post_init__(self) -> None:
        for name, parameter in declared(type(self)).items():
            _check_bounds(parameter, getattr(self, name), f"{self.group}/{name}")
        self.check()

    def check(self) -> None:
        """Raise `ConfigError` for values that do not go together."""

    def require(self, ok: bool, name: str, message: str) -> None:
        """Raise `ConfigError` for the parameter `name` unless `ok`."""
        if not ok:
            raise ConfigError(f"{self.group}/{name}", message)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, source: object, pointer: str = "") -> Self:
        """Read plain JSON values strictly: an unknown field or a wrong type raises `ConfigError`."""
        if not isinstance(source, Mapping):
            raise ConfigError(pointer or "/", "must be an object")
        known = declared(cls)
        for name in source:
            if name not in known:
                raise ConfigError(f"{pointer}/{name}", "is not a known field")
        return cls(**{name: _read(known[name], json, f"{pointer}/{name}") for name, json in source.items()})


_declared: dict[type, Mapping[str, Parameter]] = {}


def declared(group: type[Parameters]) -> Mapping[str, Parameter]:
    """The parameters of a group in the order of their declaration; read once, for construction needs them."""
    if group not in _declared:
        hints = typing.get_type_hints(group, include_extras=True)
        fields = dataclasses.fields(group)
        _declared[group] = {field.name: _parameter(hints[field.name], field) for field in fields}
    return _declared[group]


def dotted(group: type[Parameters]) -> Iterator[tuple[str, Parameter]]:
    """All parameters, those of nested groups by dotted name: `optimizer.learning_rate`."""
    for name, parameter in declared(group).items():
        if parameter.nested is None:
            yield name, parameter
        else:
            yield from ((f"{name}.{inner}", one) for inner, one in dotted(parameter.nested))


def _parameter(hint: Any, field: dataclasses.Field[Any]) -> Parameter:
    extras: tuple[Any, ...] = ()
    if typing.get_origin(hint) is Annotated:
        hint, *rest = typing.get_args(hint)
        extras = tuple(rest)
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    kinds = tuple(option for option in options if option is not types.NoneType)
    default = field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return Parameter(
        type=typing.Union[kinds],  # noqa: UP007 # of a tuple; with one member, that member
        nullable=len(kinds) < len(options),
        default=default,
        bounds=next((extra for extra in extras if isinstance(extra, Bounds)), Bounds()),
        doc=next((extra.text for extra in extras if isinstance(extra, Doc)), ""),
    )


def _check_bounds(parameter: Parameter, setting: Any, pointer: str) -> None:
    bounds = parameter.bounds
    if isinstance(setting, tuple):
        if not bounds.fit(len(setting)):
            raise ConfigError(
                pointer, f"must be a list of {bounds.min_length or 0} to {bounds.max_length} elements"
            )
        for index, number in enumerate(setting):
            if not bounds.contain(number):
                raise ConfigError(f"{pointer}/{index}", f"must be {bounds}")
    elif isinstance(setting, int | float) and not isinstance(setting, bool) and not bounds.contain(setting):
        raise ConfigError(pointer, f"must be {bounds}")


def _read(parameter: Parameter, json: object, pointer: str) -> Any:
    """Convert a JSON value to the parameter's type."""
    if json is None and parameter.nullable:
        return None
    if parameter.nested is not None:
        return json if isinstance(json, parameter.nested) else parameter.nested.from_json(json, pointer)
    if parameter.element is not None:
        if not isinstance(json, list | tuple):
            raise ConfigError(pointer, "must be a list")
        return tuple(_scalar(parameter.element, one, f"{pointer}/{i}") for i, one in enumerate(json))
    return _scalar(parameter.type, json, pointer)


def _scalar(kind: Any, json: object, pointer: str) -> Any:
    """Convert a JSON value to a plain type, a literal, or one of a union of these."""
    if typing.get_origin(kind) is Literal:
        if json not in typing.get_args(kind):
            raise ConfigError(pointer, f"must be one of {', '.join(map(str, typing.get_args(kind)))}")
        return json
    options = typing.get_args(kind) or (kind,)
    if not any(_fits(option, json) for option in options):
        names = " or ".join(_name(option) for option in options)
        raise ConfigError(pointer, f"must be {names}, not {json!r}")
    return float(json) if float in options and isinstance(json, int) else json


def _name(option: Any) -> str:
    words = typing.get_args(option)  # of a literal
    return " or ".join(map(repr, words)) if words else str(option.__name__)


def _fits(kind: Any, json: object) -> bool:
    """Whether a JSON value has this type: true is no number, and a whole number may stand for a float."""
    if typing.get_origin(kind) is Literal:
        return json in typing.get_args(kind)
    if isinstance(json, bool):
        return kind is bool
    return isinstance(json, int | float) if kind is float else isinstance(json, kind)
