"""What a downloaded ONNX file has of its model's calibration: what may change after the export.

They are appended to the graph at each download. Serialised messages of protobuf merge when they are joined,
and fields that repeat, as `metadata_props` does, are joined too.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from app.inference.engines.graph_store import constants
from app.registry.service import calibration_ref
from app.selective import calibrations
from app.selective.policy import AppliedPolicy, PolicyRequest, apply_policy
from core.storage.artifacts import Artifacts
from core.tables import ModelRow
from masktune.contract.report.text.card import Card
from models.selective import TrainingNeighbours

if TYPE_CHECKING:
    from onnx import StringStringEntryProto

COVERAGES = (0.8, 0.9, 0.95)
RISKS = (0.01, 0.02, 0.05, 0.1)
CONFIDENCES = (0.95, 0.99)

_POLICIES = {
    **{f"coverage={share}": PolicyRequest("coverage", share) for share in COVERAGES},
    **{
        f"max_risk={risk}&risk_confidence={confidence}": PolicyRequest("max_risk", risk, confidence)
        for risk in RISKS
        for confidence in CONFIDENCES
    },
}
"""The policies whose thresholds are in the file, each under the query that requests it of the service."""


def calibration_metadata(model: ModelRow, artifacts: Artifacts) -> bytes:
    """Return what belongs at the end of the model's graph; docs/how-to/onnx.md has the keys."""
    from onnx import ModelProto  # takes half a second, and few ask for a graph

    calibration, reference = calibrations.find(model, artifacts), calibration_ref(model)
    if calibration is not None:  # whoever runs this graph has no training neighbours
        calibration = calibration.of_scores_alone
    score_name = calibrations.score_name(None, model)
    thresholds: dict[str, float | None] = {}
    for query, request in _POLICIES.items() if calibration is not None else ():
        threshold = apply_policy(request, calibration, score_name).threshold
        # JSON has no −inf, the threshold of a coverage that takes every finite score.
        thresholds[query] = None if threshold is None else max(threshold, -sys.float_info.max)
    facts = {
        "model": model.id,
        "score": {"name": score_name, "of": "softmax(logits / temperature)", "scale": "natural logarithm"},
        "temperature": calibrations.temperature(model, calibration),
        "thresholds": thresholds,
        "calibration": None if reference is None else reference.model_dump(mode="json"),
    }
    return bytes(ModelProto(metadata_props=_entries(facts)).SerializeToString())


def policy_values(
    card: Card, policy: AppliedPolicy, neighbours: TrainingNeighbours | None, temperature: float
) -> bytes:
    """Return what belongs at the end of a graph of answers: its constants, with `neighbours` if it tells
    unlike images, and what they rest on."""
    from onnx import ModelProto

    by_class = policy.class_thresholds
    thresholds = [policy.threshold if by_class is None else by_class[label] for label in card.model.classes]
    if neighbours is not None and card.selection.policy == "none":  # then all are answered, as by the service
        neighbours = replace(neighbours, threshold=math.inf)
    facts = {
        "version": 1,
        "model": card.model.id,
        "classes": card.model.classes,
        "temperature": temperature,
        "selection": card.selection.model_dump(mode="json"),
    }
    metadata = bytes(ModelProto(metadata_props=_entries(facts)).SerializeToString())
    numbers = [math.inf if one is None else one for one in thresholds]
    return constants(temperature, numbers, neighbours) + metadata


def _entries(facts: Mapping[str, object]) -> list[StringStringEntryProto]:
    from onnx import StringStringEntryProto

    return [
        StringStringEntryProto(key=f"masktune.{name}", value=json.dumps(fact)) for name, fact in facts.items()
    ]
