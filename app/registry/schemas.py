"""Shapes of models, their aliases, and their risk–coverage curves."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.http.schemas import Time
from masktune.contract.base import DatasetRef, ModelRef, Strict, Text
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.vocabulary import Arm, SelectionStatus
from models.selective import GroupVerdict

ALIAS_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class SplitMetrics(BaseModel):
    """Figures of one split, as shares in 0..1; the job's report adds n and intervals."""

    model_config = ConfigDict(extra="allow")

    accuracy: float | None = Field(None, description="Plain mean over the samples.")
    balanced_accuracy: float | None = Field(None, description="Mean over the classes.")
    worst_group_accuracy: float | None = Field(None, description="Lowest of the groups; null without groups.")
    groups: dict[str, float] | None = Field(None, description="Accuracy by group, if there are any.")


class ModelMetrics(BaseModel):
    """Figures by split; null if the split was not measured."""

    model_config = ConfigDict(extra="allow")

    val: SplitMetrics | None = None
    test: SplitMetrics | None = None


class CalibrationRef(BaseModel):
    """The calibration that the reject option of this model rests on."""

    id: str
    n: int = Field(description="Samples of the calibration split, each picture once.")
    copies_left_out: int | None = Field(
        None,
        description="Samples of the split that were left out: copies of a picture that comes earlier in the "
        "split, or is in `train` or `val` too. Null for a calibration that does not say, and may have "
        "counted them.",
    )
    score_name: str | None = Field(None, description="The score that is used if none is requested.")
    scores: list[str] = Field(description="Scores that may be requested.")
    temperature: float | None = Field(
        None, description="Temperature of the probabilities that are shown, fitted on the validation split."
    )
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
    version: int = Field(description="Number of moves so far.")
    updated_at: Time


class AliasWithHistory(Alias):
    history: list[AliasMove] = Field(description="The last 100 moves, newest first.")


class Aliases(BaseModel):
    """Every alias, by name."""

    data: list[Alias]


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


class CurvePoint(BaseModel):
    """One threshold on the calibration split, with 95 % bounds on its selective risk.

    `low` and `high` hold for a point that was chosen before looking at the curve, `band_low` and
    `band_high` for all points at once: use the band for a target chosen after looking.
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
    """One group or class of the calibration split at the threshold of the table.

    A certificate says nothing about a group, so each has its own bound. The bounds hold one by one.
    """

    group: str
    n: int
    n_answered: int
    n_errors: int
    coverage: float
    risk: float | None = Field(description="Null if nothing is answered.")
    risk_upper: float = Field(
        description="Clopper–Pearson upper bound at `risk_confidence`, for this group alone."
    )
    verdict: GroupVerdict | None = Field(
        description="`bound_below`: the bound is at most the table's `max_risk`. `bound_above`: it is not. "
        "`too_few`: so few are answered that it could not be, even without an error. Null if no `max_risk` "
        "was requested. This is not a certificate: many rows at this confidence are not one promise."
    )
    aurc: float | None


class GroupTable(BaseModel):
    """Each group and each class at one threshold."""

    policy: Literal["coverage", "max_risk"]
    requested: float = Field(description="The coverage, or the risk, that the threshold is for.")
    status: SelectionStatus
    threshold: float | None = Field(description="On the scale of `score`; null if there is none.")
    max_risk: float | None = Field(
        description="The requested risk, which the bounds are compared with; null for a `coverage`."
    )
    risk_confidence: float
    groups: list[GroupRow] = Field(description="Empty if the data set has no groups.")
    group_coverage_ratio: float | None = Field(
        description="Smallest coverage of a group over the largest; 1 is even. Null below two groups."
    )
    classes: list[GroupRow] = Field(
        description="By the true class; empty for a calibration without class counts."
    )
    class_coverage_ratio: float | None


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
    confidence: float = Field(description="Confidence of each pair of bounds.")
    points: list[CurvePoint] = Field(description="In order of rising coverage.")
    chosen_before_looking: Literal["low, high"] = Field(
        "low, high", description="The bounds for a point that was fixed before the curve was seen."
    )
    chosen_after_looking: Literal["band_low, band_high"] = Field(
        "band_low, band_high", description="The only bounds for a point that was picked from the curve."
    )
    statement: str = Field(description="The same in words.")
    table: GroupTable


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
