"""Models as resources: shown, listed, deleted."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from app.deps import Services
from app.inference import graphs
from app.schemas.models import CalibrationRef, Model, ModelMetrics, SplitMetrics
from core.errors import ModelInUse
from core.queries import jobs, registry
from core.session import after_commit
from core.tables import ModelRow


def describe(row: ModelRow) -> Model:
    """The row as the API tells it."""
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
        metrics=ModelMetrics(val=_split(row.metrics.get("val")), test=_split(row.metrics.get("test"))),
        created_at=row.created_at,
    )


def calibration_ref(row: ModelRow) -> CalibrationRef | None:
    if row.calibration is None:
        return None
    return CalibrationRef.model_validate({k: v for k, v in row.calibration.items() if k != "artifact"})


def delete(services: Services, session: Session, model_id: str) -> None:
    """Remove the row now and the files after the commit; `ModelInUse` where something needs it."""
    users = jobs.using_model(session, model_id)
    if users:
        raise ModelInUse(f"model {model_id} is used by {', '.join(users)}; cancel or await them first")
    row = registry.delete(session, model_id)
    keys = [row.artifact, graphs.key(row.id), *([row.calibration["artifact"]] if row.calibration else [])]
    after_commit(session, partial(_remove, services, row.id, keys))


def _remove(services: Services, model_id: str, keys: list[str]) -> None:
    services.inference.forget(model_id)
    for key in keys:
        services.artifacts.delete(key)


def _split(figures: dict[str, Any] | None) -> SplitMetrics | None:
    return None if figures is None else SplitMetrics.model_validate(figures)
