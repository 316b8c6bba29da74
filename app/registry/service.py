"""Models as resources: describe, find, delete."""

from __future__ import annotations

import logging
from functools import partial
from typing import Annotated

from fastapi import Depends, Path
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.http.caller_ids import public_id
from app.http.deps import DatabaseDep, DiscardFiles
from app.http.edits import user_fields
from app.inference import Inference, Pair, StoredNetwork
from app.inference.engines import graph_store as graphs
from app.registry import promise
from core.errors import NotFound
from core.queries import registry
from core.session import Database, after_commit
from core.tables import JobRow, ModelRow
from masktune.contract.ids import is_id
from masktune.contract.models import (
    CalibrationRef,
    DriftState,
    Evaluation,
    Model,
    ModelMetrics,
    PatternJudgeRef,
    in_order_of_evidence,
)
from masktune.contract.vocabulary import RESUMABLE

logger = logging.getLogger(__name__)


def describe(row: ModelRow) -> Model:
    """Convert the row to the shape of the API."""
    return Model(
        id=row.id,
        dataset=row.dataset_id,
        job=row.job_id,
        arm=row.arm,
        backbone=row.backbone,
        classes=row.classes,
        image_size=row.image_size,
        erm=row.erm_id,
        calibration=calibration_ref(row),
        pattern_judge=pattern_judge_ref(row),
        drift=drift_state(row),
        promise=promise.state(row),
        evaluations=in_order_of_evidence(
            map(Evaluation.model_validate, row.evaluations.values()),
        ),
        metrics=ModelMetrics.model_validate({split: row.metrics.get(split) for split in ("val", "test")}),
        created_at=row.created_at,
        **user_fields(row),
    )


def calibration_ref(row: ModelRow) -> CalibrationRef | None:
    if (known := row.own_calibration) is None:
        return None
    return CalibrationRef.model_validate({k: v for k, v in known.items() if k != "artifact"})


def pattern_judge_ref(row: ModelRow) -> PatternJudgeRef | None:
    if row.pattern_judge is None:
        return None
    return PatternJudgeRef.model_validate({k: v for k, v in row.pattern_judge.items() if k != "artifact"})


def drift_state(row: ModelRow) -> DriftState | None:
    """What is known of the model's inputs under its calibration; None without a calibration."""
    if (calibration := row.own_calibration) is None:
        return None
    known = row.drift or {}
    if known.get("calibration") != calibration["id"]:
        return DriftState(status="too_few")
    return DriftState(
        status=known["status"],
        found_at=known["found_at"],
        acknowledged_at=known["acknowledged_at"],
        acknowledged_by=public_id(known["acknowledged_by"]),
    )


def find(session: Session, inference: Inference, name: str) -> ModelRow:
    """Return the model to serve under this id or alias, or raise `NotFound`.

    If another replica has deleted the model, this also drops it from the memory of this one.
    """
    try:
        return registry.get(session, name)
    except NotFound:
        if is_id(name, "mdl"):
            inference.cache.drop(name)
        raise


def check_there(database: Database, pair: Pair) -> None:
    """Raise `NotFound` if a model of the pair was deleted. Passes while the database is unreachable."""
    try:
        with database.read() as session:
            gone = registry.missing(session, [network.id for network in pair.networks])
    except SQLAlchemyError as error:
        logger.warning("whether model %s is still there cannot be asked: %s", pair.model.id, error)
        return
    if gone:
        raise NotFound(f"model {', '.join(sorted(gone))} was deleted; see the list of models")


def delete(session: Session, inference: Inference, model_id: str, discard: DiscardFiles) -> None:
    """Remove the row now and the files after the commit. Raises `ModelInUse` if something needs the model."""
    row = registry.delete(session, model_id)
    # Weights before the graph: a concurrent export checks for the weights last, and then removes its graph.
    keys = [row.artifact, *graphs.keys(row.id), *_left_by_training(session, row)]
    keys += [stored["artifact"] for stored in (row.calibration, row.pattern_judge) if stored]
    if row.backbone_artifact and registry.release_backbone(session, row.backbone_artifact):
        keys.append(row.backbone_artifact)
    after_commit(session, partial(inference.cache.drop, row.id))
    discard(session, keys)


def _left_by_training(session: Session, row: ModelRow) -> set[str]:
    """Return the keys of what the stage that made the model left beside it, such as its checkpoints.

    Also the work folder of its job if the job could be resumed: without the model it no longer can.
    """
    job = session.get(JobRow, row.job_id) if row.job_id else None
    if job is None:
        return set()
    keys = {
        stage_result["artifact"]
        for stage_result in job.done.values()
        if stage_result.get("model", {}).get("id") == row.id
    }
    return keys | ({f"jobs/{job.id}/work"} if job.state in RESUMABLE else set())


def pair_of(session: Session, model: ModelRow) -> Pair:
    """Return the model and, if there is one, the ERM model that it was tuned from."""
    erm = None if model.erm_id is None else session.get(ModelRow, model.erm_id)
    return Pair(stored_network(model), None if erm is None else stored_network(erm))


def stored_network(row: ModelRow) -> StoredNetwork:
    return StoredNetwork(row.id, row.artifact, row.backbone_artifact)


ModelName = Annotated[str, Path(description="Id or alias of a model.", max_length=100)]


def _model(model: ModelName, database: DatabaseDep) -> ModelRow:
    if "\0" in model:  # PostgreSQL rejects NUL in text
        raise NotFound("there is no such model; see the list of models")
    with database.read() as session:
        return registry.get(session, model)


LoadedModel = Annotated[ModelRow, Depends(_model)]
"""Reads the path parameter `model`: an id or an alias."""
