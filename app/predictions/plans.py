"""What a prediction reads from the database: the model, its ERM model, and the threshold of the policy."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from app.inference import Calibration, Inference, Pair
from app.registry import promise
from app.registry import service as models
from app.selective import calibrations
from app.selective.policy import AppliedPolicy, choose, require_certified
from core.storage.artifacts import ArtifactMissing, Artifacts
from core.tables import ModelRow
from masktune.contract.serving import predictions
from masktune.contract.serving.predictions import PredictQuery
from models.selective import PredictionSets, TrainingNeighbours


@dataclass(frozen=True)
class PredictionPlan:
    """All that a prediction reads from the database; moving an alias later does not change it."""

    model: ModelRow
    pair: Pair
    policy: AppliedPolicy
    calibration: Calibration | None
    temperature: float = 1.0
    sets: PredictionSets | None = None
    neighbours: TrainingNeighbours | None = None


def plan(session: Session, inference: Inference, artifacts: Artifacts, query: PredictQuery) -> PredictionPlan:
    """Resolve the model, its ERM model and the policy. Raises for whatever is wrong with the query."""
    calibrated = query.set_coverage is not None
    model = models.find(session, inference, query.model)
    try:
        choice = choose(query, model, artifacts, calibrated=calibrated)
        neighbours = calibrations.neighbours(model, artifacts)
    except ArtifactMissing:  # the model was deleted or recalibrated after its row was read: read again
        session.rollback()
        model = models.find(session, inference, query.model)
        choice = choose(query, model, artifacts, calibrated=calibrated)
        neighbours = calibrations.neighbours(model, artifacts)
    temperature = calibrations.temperature(model, choice.calibration)
    sets = None
    if query.set_coverage is not None and choice.calibration is not None:
        sets = calibrations.prediction_sets(choice.calibration, query.set_coverage)
    pair = models.pair_of(session, model)
    more = {
        "drift": models.drift_state(model),
        "promise": promise.state(model),
        "sets": None if sets is None else predictions.PredictionSets(**sets.to_json()),
    }
    policy = replace(choice.policy, selection=choice.policy.selection.model_copy(update=more))
    if query.on_uncertified == "error":
        require_certified(policy)
    return PredictionPlan(model, pair, policy, choice.calibration, temperature, sets, neighbours)
