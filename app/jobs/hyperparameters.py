"""Resolves a job's hyperparameters: data set defaults, then the preset, then the request's single fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel

from app.inference.backbones import check_backbone, check_method
from app.jobs import presets
from core.errors import InvalidInput
from core.tables import DatasetRow
from masktune.contract.hyperparameters import Hyperparameters, MitigateConfig, RetrainConfig
from masktune.contract.hyperparameters.parameters import ConfigError, Parameters
from masktune.contract.job_requests import JobRequest, MitigateRequest, RetrainHeadRequest
from masktune.contract.parameter_fields import explicit
from models.backbones.errors import UnknownBackbone
from models.defaults import default_hyperparameters

RANDOM = "random"
"""The masking method that masks as many pixels as saliency would, at random places."""
_GROUPS: Mapping[type[BaseModel], type[Parameters]] = {
    MitigateRequest: MitigateConfig,
    RetrainHeadRequest: RetrainConfig,
}
"""The parameters of a request, where they are not those of a training alone."""
NOT_PARAMS = frozenset({"dataset", "model", "mask_set", "preset", *JobRequest.model_fields})


Config = TypeVar("Config", bound=Hyperparameters)


def resolve(base: Mapping[str, Any], request: BaseModel, **fixed: Any) -> Hyperparameters:
    """Merge `base` ← the request's preset ← its single fields ← `fixed`. Raises `InvalidInput`."""
    return _resolve(Hyperparameters, base, request, fixed)


def resolve_mitigation(base: Mapping[str, Any], request: MitigateRequest, **fixed: Any) -> MitigateConfig:
    """As `resolve`.
    By default, MaskTune is run where the whole network is trained, and the threshold of its masks is the one
    that the model's deletion curve shows."""
    params = _resolve(MitigateConfig, merge(base, {"masking": {"sigmas": "auto"}}), request, fixed)
    if "masktune" in explicit_fields(request):
        return params
    return replace(params, masktune=not params.freeze_backbone)


def _resolve(
    config: type[Config], base: Mapping[str, Any], request: BaseModel, fixed: Mapping[str, Any]
) -> Config:
    layers = _layers(request)
    merged = _with_a_schedule_that_holds(base)
    for layer in (*layers, fixed):
        merged = merge(merged, _with_a_whole_schedule(layer))
    try:
        params = config.from_json(merged)
    except ConfigError as error:
        raise InvalidInput.field(error.pointer, "invalid-value", error.message) from error
    _check_names(params, layers[-1])
    return params


def _with_a_whole_schedule(layer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Complete a schedule: milestones alone mean multistep; naming another one drops milestones below."""
    schedule = layer.get("schedule") or {}
    if schedule.get("milestones") and "name" not in schedule:
        return {**layer, "schedule": {**schedule, "name": "multistep"}}
    if schedule.get("name", "multistep") != "multistep" and "milestones" not in schedule:
        return {**layer, "schedule": {**schedule, "milestones": []}}
    return layer


def _with_a_schedule_that_holds(base: Mapping[str, Any]) -> dict[str, Any]:
    """Normalise an earlier training's schedule: milestones and multistep do nothing without each other."""
    schedule = base.get("schedule") or {}
    if (schedule.get("name") == "multistep") == bool(schedule.get("milestones")):
        return dict(base)
    name = "constant" if schedule["name"] == "multistep" else schedule["name"]
    return {**base, "schedule": {**schedule, "name": name, "milestones": []}}


def _layers(request: BaseModel) -> tuple[Mapping[str, Any], ...]:
    """Return what the request asks for: the layers of its preset, if any, below its single fields."""
    fields, name = explicit_fields(request), getattr(request, "preset", None)
    if name is None:
        return (fields,)
    preset = presets.get(name)
    return (preset.params, preset.released, fields) if fields.get("as_released") else (preset.params, fields)


def resolve_head(request: BaseModel) -> RetrainConfig:
    """Merge the defaults ← the request's fields. Raises `InvalidInput`."""
    merged = merge(RetrainConfig().to_json(), explicit_fields(request))
    try:
        return RetrainConfig.from_json(merged)
    except ConfigError as error:
        raise InvalidInput.field(error.pointer, "invalid-value", error.message) from error


def defaults_for(dataset: DatasetRow, **start: Any) -> dict[str, Any]:
    """Return default hyperparameters for this data set's image size, training samples and classes.

    `start` are the fields of `requested_start`.
    """
    side = dataset.summary["sizes"]["longer_side_max"]
    n_train = dataset.summary["splits"]["train"]["count"]
    return default_hyperparameters(side, n_train, len(dataset.classes), **start).to_json()


def requested_start(request: BaseModel) -> dict[str, Any]:
    """Return what the request or its preset says of the network at the start: other defaults depend on it."""
    names = ("backbone", "pretrained", "freeze_backbone")
    return {name: layer[name] for layer in _layers(request) for name in names if name in layer}


def explicit_fields(request: BaseModel) -> dict[str, Any]:
    """Return the hyperparameters that the client set explicitly."""
    group = next((group for kind, group in _GROUPS.items() if isinstance(request, kind)), Hyperparameters)
    return explicit(group, request.model_dump(exclude_unset=True, exclude=set(NOT_PARAMS)))


def sets_gate(request: BaseModel) -> bool:
    """Whether the request or its preset says by which gate early stages divide the classes."""
    return any((layer.get("head") or {}).get("gate") is not None for layer in _layers(request))


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Overlay `above` on `below`; objects are merged field by field."""
    merged = dict(below)
    for name, upper in above.items():
        lower = merged.get(name)
        merged[name] = merge(lower, upper) if isinstance(upper, dict) and isinstance(lower, dict) else upper
    return merged


def _check_names(params: Hyperparameters, fields: Mapping[str, Any]) -> None:
    """Check the client's fields for unknown backbones or methods, and for a momentum without effect."""
    if "backbone" in fields:
        try:
            check_backbone(params.backbone)
        except UnknownBackbone as error:
            raise InvalidInput.field("/backbone", "unknown-backbone", str(error)) from error
    if "momentum" in fields.get("optimizer", {}) and params.optimizer.name != "sgd":
        raise InvalidInput.field(
            "/optimizer/momentum", "not-used", f"{params.optimizer.name} has no momentum; leave it out"
        )
    if "method" in fields.get("masking", {}) and params.masking.method != RANDOM:
        check_method(params.masking.method, "/masking/method")
