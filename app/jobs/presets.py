"""`/presets`: hyperparameters by name. TOML files in the package `presets`, read and checked once."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.auth.deps import READER, CallerFirst
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, conditional
from core.errors import InvalidInput, NotFound
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.jobs import Preset, Presets

router = APIRouter(prefix="/presets", tags=["service"], route_class=CallerFirst)

_DESCRIPTION = ("title", "description", "data", "released")


@router.get("", dependencies=[READER], summary="List presets", response_model=Presets, responses=NOT_MODIFIED)
def list_presets(request: Request) -> Response:
    return conditional(request, Presets(data=list(load().values())))


@router.get(
    "/{name}",
    dependencies=[READER],
    summary="Get a preset",
    response_model=Preset,
    responses=NOT_MODIFIED | problems(404),
)
def get_preset(request: Request, name: str) -> Response:
    preset = load().get(name)
    if preset is None:
        raise NotFound("there is no such preset; GET /presets lists them")
    return conditional(request, preset)


@cache
def load() -> dict[str, Preset]:
    """Return all presets by name. Raises `ConfigError` for a preset that no job could run."""
    presets = {}
    for file in sorted(files("presets").iterdir(), key=lambda entry: entry.name):
        name, dot, ending = file.name.rpartition(".")
        if dot and ending == "toml":
            presets[name] = _read(name, tomllib.loads(file.read_text(encoding="utf-8")))
    return presets


def get(name: str) -> Preset:
    """Return the preset, or raise `InvalidInput`."""
    preset = load().get(name)
    if preset is None:
        raise InvalidInput.field(
            "/preset", "unknown-preset", f"there is no preset {name!r}; GET /presets lists them"
        )
    return preset


def _read(name: str, raw: dict[str, Any]) -> Preset:
    params = {key: raw[key] for key in raw if key not in _DESCRIPTION}
    released = raw.get("released", {})
    for fields in (params, released):
        Hyperparameters.from_json(fields)
    return Preset(
        name=name,
        title=raw.get("title", name),
        description=raw.get("description", ""),
        data=raw.get("data"),
        params=params,
        released=released,
    )
