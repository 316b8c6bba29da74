"""Shapes of models, their aliases, and their risk–coverage curves."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from masktune.contract.base import DatasetRef, ModelRef, Strict, Text
from masktune.contract.hyperparameters import ScoreName

ALIAS_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class AliasTarget(Strict):
    """Where an alias should point."""

    model: ModelRef = Field(description="Id of a model, or another alias.")


class RollbackTarget(Strict):
    """Which move to go back to."""

    version: int | None = Field(
        None, ge=1, description="A version from the history; null: the model before the current one."
    )


class RiskCoverageQuery(BaseModel):
    """Which curve, and which threshold for the table of groups: at most one of `coverage` and `max_risk`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    score: ScoreName | None = Field(None, description="Default: the calibration's.")
    points: int = Field(100, ge=2, le=1000, description="Points on the curve, evenly spaced in coverage.")
    coverage: float | None = Field(
        None, gt=0, le=1, description="The table's threshold answers this share. Default 0.9."
    )
    max_risk: float | None = Field(
        None, gt=0, lt=1, description="Or the table's threshold is certified for this risk."
    )
    risk_confidence: float | None = Field(
        None, ge=0.5, lt=1, description="Confidence of the table's certificate and bounds. Default 0.99."
    )


ClassName = Annotated[Text, StringConstraints(min_length=1, max_length=200)]


class ModelImport(Strict):
    """The fields that accompany the file of a model import."""

    backbone: Annotated[Text, StringConstraints(min_length=1, max_length=200)] = Field(
        description="`small_cnn`, `resnet32`, or a torchvision or timm classifier by name."
    )
    classes: list[ClassName] = Field(
        min_length=2, max_length=100_000, description="Names, in the order of the outputs."
    )
    image_size: int = Field(ge=8, le=1024, description="Side in pixels of the square that the network sees.")
    dataset: DatasetRef | None = Field(
        None, description="The data set that the model belongs to; it must have the same classes."
    )
