"""Shapes of models, their aliases, and their risk–coverage curves."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.schemas.common import Strict, Text, Time
from core.vocabulary import Arm

ALIAS_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class SplitMetrics(BaseModel):
    """Figures of one split, shares in 0..1; the job's report adds n and intervals."""

    model_config = ConfigDict(extra="allow")

    accuracy: float | None = Field(None, description="Plain mean over the samples.")
    balanced_accuracy: float | None = Field(None, description="Mean over the classes.")
    worst_group_accuracy: float | None = Field(None, description="Lowest group; null without groups.")
    groups: dict[str, float] | None = Field(None, description="Accuracy by group, where there are any.")


class ModelMetrics(BaseModel):
    """Figures by split; null where the split was not measured."""

    model_config = ConfigDict(extra="allow")

    val: SplitMetrics | None = None
    test: SplitMetrics | None = None


class CalibrationRef(BaseModel):
    """The calibration that the reject option of this model rests on."""

    id: str
    n: int = Field(description="Samples of the calibration split.")
    score_name: str | None = Field(None, description="The score that is used when none is asked for.")
    scores: list[str] = Field(description="Scores that may be asked for.")
    created_at: Time | None = None


class Model(BaseModel):
    """A trained or imported network."""

    id: str
    dataset: str | None = Field(description="The data set it was trained on.")
    job: str | None = Field(description="The job that made it.")
    arm: Arm
    backbone: str
    classes: list[str]
    image_size: int = Field(description="Side in pixels of the square that the network sees.")
    erm: str | None = Field(description="The ERM model it was tuned from: the other half of the pair.")
    calibration: CalibrationRef | None
    metrics: ModelMetrics
    created_at: Time


class AliasMove(BaseModel):
    """One move of an alias."""

    version: int
    model: str | None = Field(description="Null: the alias was removed.")
    at: Time


class Alias(BaseModel):
    """A name that may stand wherever a model id may."""

    name: str
    model: str
    version: int = Field(description="Counts the moves.")
    updated_at: Time


class AliasWithHistory(Alias):
    history: list[AliasMove] = Field(description="The last 100 moves, newest first.")


class Aliases(BaseModel):
    """Every alias, by name."""

    data: list[Alias]


class AliasTarget(Strict):
    """Where an alias should point."""

    model: Annotated[str, Field(min_length=1, max_length=100, description="Id of a model, or another alias.")]


class RollbackTarget(Strict):
    """Which move to go back to."""

    version: int | None = Field(
        None, ge=1, description="A version of the history; null: the model before the present one."
    )


class CurvePoint(BaseModel):
    """One threshold on the calibration split, with 95 % bounds on its selective risk.

    `low` and `high` hold for a point that was chosen before looking at the curve, `band_low` and
    `band_high` for all points at once: use those for a target chosen after looking.
    """

    threshold: float = Field(description="On the scale of `score`, 0..1.")
    coverage: float
    risk: float
    n_answered: int
    n_errors: int
    low: float
    high: float
    band_low: float
    band_high: float


class GroupRow(BaseModel):
    """One group of the calibration split. A certificate says nothing about a group."""

    group: str
    n: int
    n_answered: int = Field(description="At `threshold`.")
    n_errors: int
    coverage: float
    risk: float | None = Field(description="Null where nothing is answered.")
    risk_upper: float = Field(description="Clopper and Pearson's upper bound at 99 %, for this group alone.")
    aurc: float | None


class RiskCoverage(BaseModel):
    """How the share of wrong answers falls as fewer inputs are answered, on the calibration split."""

    model: str
    calibration: CalibrationRef
    score_name: str
    n: int
    aurc: float | None = Field(
        description="Area under the curve: mean risk over the coverages. Lower is better."
    )
    augrc: float | None = Field(
        description="Area under the generalised curve (Traub et al. 2024). Lower is better."
    )
    confidence: float = Field(description="Of each pair of bounds.")
    points: list[CurvePoint] = Field(description="In rising coverage.")
    coverage: float = Field(description="The coverage that the table of groups is for.")
    threshold: float | None
    groups: list[GroupRow] = Field(description="Empty where the data set has no groups.")


ClassName = Annotated[Text, StringConstraints(min_length=1, max_length=200)]


class ModelImport(Strict):
    """The fields beside the file of a model import."""

    backbone: Annotated[Text, StringConstraints(min_length=1, max_length=200)] = Field(
        description="`small_cnn`, `resnet32`, or a torchvision or timm classifier by name."
    )
    classes: list[ClassName] = Field(
        min_length=2, max_length=100_000, description="Names, in the order of outputs."
    )
    image_size: int = Field(ge=8, le=1024, description="Side in pixels of the square that the network sees.")
    dataset: str | None = Field(
        None, max_length=32, description="The data set that it belongs to, of the same classes."
    )
