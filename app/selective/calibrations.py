"""Loads calibrations for serving. Each is parsed once and cached by key, because it never changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from app.inference import Calibration
from core.errors import Conflict, InvalidInput, Unavailable
from core.storage.artifacts import ArtifactMissing, Artifacts
from core.tables import ModelRow
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.report.text import needs_erm, uncalibrated
from models.selective import (
    NEIGHBOURS_FILE,
    CalibrationTable,
    NeighboursError,
    PredictionSets,
    Share,
    TrainingNeighbours,
)

FILE = "tables.json"
DEFAULT_SCORE: ScoreName = "max_softmax"


def find(model: ModelRow, artifacts: Artifacts) -> Calibration | None:
    """Return the model's calibration, or None if it was never calibrated here."""
    row = model.own_calibration
    return None if row is None else _read(artifacts, row["artifact"], row["id"], row.get("created_at"))


def get(model: ModelRow, artifacts: Artifacts) -> Calibration:
    """Like `find`, but raise `Conflict`, which says how to get one, if there is none."""
    calibration = find(model, artifacts)
    if calibration is None:
        raise Conflict(uncalibrated(model.id, imported=model.calibration is not None))
    return calibration


def temperature(model: ModelRow, calibration: Calibration | None) -> float:
    """Return that of the model's probabilities, with this calibration, if any; 1 without one."""
    if calibration is not None:
        return calibration.temperature
    return (model.calibration or {}).get("temperature") or 1.0


@lru_cache(maxsize=256)  # a request computes bounds of every class else
def prediction_sets(calibration: Calibration, coverage: float) -> PredictionSets:
    """Return the sets of this coverage."""
    counts = {name: table.n for name, table in calibration.classes[DEFAULT_SCORE].items()}
    return PredictionSets.build(calibration.true_log_probabilities, counts, coverage)


def neighbours(model: ModelRow, artifacts: Artifacts) -> TrainingNeighbours | None:
    """Return what tells which inputs are unlike the training images; None if the model cannot tell.

    Raises `Unavailable` for a damaged file.
    """
    if model.calibration is None or model.calibration.get("unlike_threshold") is None:
        return None
    return _read_neighbours(artifacts, model.calibration["artifact"], model.calibration["id"])


def score_name(requested: ScoreName | None, model: ModelRow) -> ScoreName:
    """Return the requested score, or the calibration's own. `InvalidInput` if the model cannot compute it."""
    calibration = model.calibration or {}
    if requested is None:
        named: ScoreName = calibration.get("score_name") or DEFAULT_SCORE
        return named
    known = calibration.get("scores")
    if known is not None and requested not in known:
        raise InvalidInput.field(
            "?score",
            "not-calibrated",
            f"model {model.id} is calibrated for {', '.join(known)}; use one of them",
        )
    if requested != DEFAULT_SCORE and model.erm_id is None:
        raise InvalidInput.field("?score", "needs-erm", needs_erm(requested, model.id))
    return requested


@lru_cache(maxsize=256)
def _read(artifacts: Artifacts, key: str, id: str, created_at: float | None) -> Calibration:
    try:
        raw = json.loads((artifacts.folder(key) / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:  # the model is being deleted
        raise ArtifactMissing(f"{key}/{FILE}") from error
    tables = _tables(raw["scores"])
    agreement, temperature = raw.get("agreement"), raw.get("temperature")
    return Calibration(
        id,
        created_at,
        tables,
        groups=_parts(raw.get("groups", {})),
        classes=_parts(raw.get("classes", {})),
        disagreement=None if agreement is None else Share(agreement["disagree"], agreement["n"]),
        temperature=1.0 if temperature is None else temperature["value"],
        n_subjects=raw.get("n_subjects"),
        groups_inferred=raw.get("groups_inferred", False),
        lacking=frozenset(raw.get("lacking", ())),
        predicted=_parts(raw.get("predicted", {})),
        true_log_probabilities=raw.get("true_log_probabilities", {}),
        unlike_answered=_tables(raw.get("unlike_answered", {})),
    )


@lru_cache(maxsize=16)  # up to 16 MB each
def _read_neighbours(artifacts: Artifacts, key: str, id: str) -> TrainingNeighbours:
    try:
        return TrainingNeighbours.load(artifacts.folder(key) / NEIGHBOURS_FILE)
    except FileNotFoundError as error:
        raise ArtifactMissing(f"{key}/{NEIGHBOURS_FILE}") from error
    except NeighboursError as error:
        raise Unavailable(
            f"calibration {id} is damaged: {error}; evaluate the model on a data set to calibrate it anew"
        ) from error


def _tables(raw: Mapping[str, Any]) -> dict[str, CalibrationTable]:
    return {name: CalibrationTable.from_json(table) for name, table in raw.items()}


def _parts(raw: Mapping[str, Any]) -> dict[str, dict[str, CalibrationTable]]:
    return {score: _tables(by_name) for score, by_name in raw.items()}
