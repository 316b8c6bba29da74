"""The reference for operators: settings, presets, metrics, kinds of problems."""

from __future__ import annotations

import tomllib
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from prometheus_client.metrics import MetricWrapperBase
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import presets as preset_files
from app.operations.metrics import Metrics
from core.settings import Settings
from docs.reference_pages.commands import variables
from docs.reference_pages.markdown import code, sections, table
from masktune.contract.problems import PROBLEM_KINDS

_SUFFIX = {"counter": "_total"}


def settings() -> str:
    """Every environment variable of the service, and of the commands that are its clients."""
    prefix = str(Settings.model_config.get("env_prefix", ""))
    rows = [
        (code(f"{prefix}{name}".upper()), _kind(field), _default(field), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    columns = ("variable", "values", "default", "what it is")
    clients = table(("variable", "of", "what it is"), variables())
    return sections([table(columns, rows), "## Of the commands that are clients", clients])


def presets() -> str:
    """The fields that each preset sets."""
    shown = []
    for path in sorted(Path(preset_files.__file__).parent.glob("*.toml")):
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        lines = [f"## {code(path.stem)}", str(told.pop("title", "")), str(told.pop("description", ""))]
        rows = [(code(name), code(_value(value))) for name, value in _flat(told)]
        shown += [*lines, table(("field", "value"), rows)]
    return sections(shown)


def metrics() -> str:
    """Every series that `GET /metrics` exposes."""
    made = Metrics()
    # A series shows its labels only once something was counted, so take them from the metric itself.
    labels = {
        family.name: list(metric._labelnames)
        for metric in vars(made).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
    }
    rows = []
    for family in made.registry.collect():
        names = labels.get(family.name) or sorted(
            {name for s in family.samples for name in s.labels} - {"le"}
        )
        told = ", ".join(code(name) for name in names) or "–"
        rows.append(
            (code(family.name + _SUFFIX.get(family.type, "")), family.type, told, family.documentation)
        )
    return table(("metric", "kind", "labels", "what it counts"), sorted(rows))


def problems() -> str:
    """Every kind of problem, as `GET /problems` lists it."""
    kinds = sorted(PROBLEM_KINDS.values(), key=lambda kind: (kind.status, kind.code))
    rows = [(code(kind.code), str(kind.status), kind.title, kind.description) for kind in kinds]
    return table(("`code`", "status", "`title`", ""), rows)


def _kind(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        return ", ".join(code(value) for value in get_args(kind))
    names = [getattr(one, "__name__", str(one)) for one in get_args(kind) or (kind,) if one is not type(None)]
    limits = [f"{sign} {_limit(field, name)}" for name, sign in _SIGNS if _limit(field, name) is not None]
    return ", ".join([" or ".join(_NAMES.get(name, name) for name in names), *limits])


def _limit(field: FieldInfo, name: str) -> object | None:
    return next((getattr(m, name) for m in field.metadata if getattr(m, name, None) is not None), None)


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined or value is None:
        return "–"
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    return code(_value(value)) or "–"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:,}".replace(",", "_") if value >= 100_000 else str(value)
    return str(value.value if isinstance(value, Enum) else value)


def _flat(values: dict[str, Any], outer: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{outer}{name}.") if isinstance(value, dict) else [(outer + name, value)]
    return found


_SIGNS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
_NAMES = {
    "str": "text",
    "int": "number",
    "float": "number",
    "Path": "path",
    "SecretStr": "text",
    "bool": "true, false",
}
