"""Calibrations as they are served: parsed once, kept by key, as a calibration never changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from core.artifacts import Artifacts
from core.errors import Conflict, InvalidInput
from core.tables import ModelRow
from models.selective import CalibrationTable, Reference, ScoreName, Share, references

FILE = "tables.json"
DEFAULT_SCORE: ScoreName = "max_softmax"


@dataclass(frozen=True, eq=False)
class Calibration:
    """The tables of one model by score, and those of the split's groups and classes (name → table) by score.

    `disagreement` is that of the model and its ERM half on the split, None where it is not known;
    `temperature` is for the probabilities that are shown.
    """

    id: str
    created_at: float | None
    tables: Mapping[str, CalibrationTable]
    groups: Mapping[str, Mapping[str, CalibrationTable]]
    classes: Mapping[str, Mapping[str, CalibrationTable]] = field(default_factory=dict)
    disagreement: Share | None = None
    temperature: float = 1.0

    @cached_property
    def references(self) -> Mapping[str, tuple[Reference, ...]]:
        """The thresholds that are watched in service, by score."""
        return {name: references(table) for name, table in self.tables.items()}


def of(model: ModelRow, artifacts: Artifacts) -> Calibration | None:
    """The model's calibration; None for one that was never calibrated."""
    if model.calibration is None:
        return None
    return _read(
        artifacts, model.calibration["artifact"], model.calibration["id"], model.calibration.get("created_at")
    )


def needed(model: ModelRow, artifacts: Artifacts) -> Calibration:
    """The same, or a `Conflict` that says how to get one."""
    found = of(model, artifacts)
    if found is None:
        raise Conflict(
            f"model {model.id} has no calibration: POST /jobs/evaluate with it and a data set makes one"
        )
    return found


def score_name(asked: ScoreName | None, model: ModelRow) -> ScoreName:
    """The score asked for, or the calibration's own. `InvalidInput` for one that the model cannot have."""
    calibration = model.calibration or {}
    if asked is None:
        named: ScoreName = calibration.get("score_name") or DEFAULT_SCORE
        return named
    known = calibration.get("scores")
    if known is not None and asked not in known:
        raise InvalidInput.field(
            "?score",
            "not-calibrated",
            f"model {model.id} is calibrated for {', '.join(known)}; use one of them",
        )
    if asked != DEFAULT_SCORE and model.erm_id is None:
        raise InvalidInput.field(
            "?score",
            "needs-erm",
            f"{asked} compares with an ERM model, and {model.id} has none: use {DEFAULT_SCORE}",
        )
    return asked


@lru_cache(maxsize=256)
def _read(artifacts: Artifacts, key: str, id: str, created_at: float | None) -> Calibration:
    raw: dict[str, Any] = json.loads((artifacts.folder(key) / FILE).read_text(encoding="utf-8"))
    tables = {name: CalibrationTable.from_json(table) for name, table in raw["scores"].items()}
    agreement, temperature = raw.get("agreement"), raw.get("temperature")
    return Calibration(
        id,
        created_at,
        tables,
        groups=_parts(raw.get("groups", {})),
        classes=_parts(raw.get("classes", {})),
        disagreement=None if agreement is None else Share(agreement["disagree"], agreement["n"]),
        temperature=1.0 if temperature is None else temperature["value"],
    )


def _parts(raw: Mapping[str, Any]) -> dict[str, dict[str, CalibrationTable]]:
    return {
        score: {name: CalibrationTable.from_json(table) for name, table in by_name.items()}
        for score, by_name in raw.items()
    }
