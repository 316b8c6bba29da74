"""Rows of tables as the service writes them, with what most tests do not care about filled in."""

from __future__ import annotations

from typing import Any

from core.tables import DatasetRow, ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, DatasetState


def dataset_row(**fields: Any) -> DatasetRow:
    """A ready data set without files; `fields` override."""
    usual: dict[str, Any] = {
        "id": new_id("ds"),
        "name": "pictures",
        "state": DatasetState.READY,
        "format": "auto",
        "source": {"builtin": "digits"},
        "options": {},
        "job_id": new_id("job"),
    }
    return DatasetRow(**usual | fields)


def model_row(**fields: Any) -> ModelRow:
    """A small model of two classes, its files where its id says; `fields` override."""
    usual: dict[str, Any] = {
        "id": new_id("mdl"),
        "arm": Arm.ERM,
        "backbone": "small_cnn",
        "classes": ["a", "b"],
        "image_size": 28,
    }
    made = usual | fields
    return ModelRow(**{"artifact": f"models/{made['id']}"} | made)
