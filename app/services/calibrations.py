"""Calibrations as they are served: parsed once, kept by key, as a calibration never changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from app.inference import Calibration, Ground, Pair
from app.services.stores import Stores
from core.artifacts import ArtifactMissing, Artifacts
from core.errors import Conflict, InvalidInput, NotFound
from core.session import Database
from core.tables import DatasetRow, ModelRow
from models.data.store import StoreError
from models.selective import CalibrationTable, ScoreName, Share

FILE = "tables.json"
DEFAULT_SCORE: ScoreName = "max_softmax"


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


def ground(database: Database, stores: Stores, artifacts: Artifacts, pair: Pair) -> Ground:
    """What another engine of this pair is to be measured on: the data set of the model's own calibration.

    `Conflict` says why there is nothing.
    """
    with database.read() as session:
        model = session.get(ModelRow, pair.model.id)
        if model is None:
            raise NotFound("it was deleted")
        if model.calibration is None:
            raise Conflict("it has no calibration: POST /jobs/evaluate with it and a data set makes one")
        if (model.erm_id is None) != (pair.erm is None):
            raise Conflict("it is asked without the ERM model that it was calibrated with")
        facts = _facts(artifacts, model.calibration["artifact"])
        dataset = session.get(DatasetRow, facts.get("dataset"))
    gone = Conflict("the data set that it was calibrated on is gone")
    if dataset is None or dataset.artifact is None:
        raise gone
    try:
        return Ground(stores.open(dataset.artifact), model.calibration["id"])
    except (ArtifactMissing, StoreError) as error:
        raise gone from error


@lru_cache(maxsize=256)
def _read(artifacts: Artifacts, key: str, id: str, created_at: float | None) -> Calibration:
    raw = _facts(artifacts, key)
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


def _facts(artifacts: Artifacts, key: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((artifacts.folder(key) / FILE).read_text(encoding="utf-8"))
    return facts


def _parts(raw: Mapping[str, Any]) -> dict[str, dict[str, CalibrationTable]]:
    return {
        score: {name: CalibrationTable.from_json(table) for name, table in by_name.items()}
        for score, by_name in raw.items()
    }
