"""What the reject option rests on: risk–coverage curves, and whether inputs still look like the calibration
split."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masktune.contract.base import AbstainReasonName, Query, SelectionStatusName, Shape, Time
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.models import CalibrationRef, DriftState
from masktune.contract.serving.predictions import ClassPromise

GroupVerdict = Literal["bound_below", "bound_above", "too_few"]


class RiskCoverageQuery(Query):
    """Which curve, and which threshold for the table of groups: at most one of `coverage` and `max_risk`;
    or the promises by class."""

    score: ScoreName | None = Field(None, description="Default: the calibration's.")
    points: int = Field(100, ge=2, le=1000, description="Points on the curve, evenly spaced in coverage.")
    coverage: float | None = Field(
        None, gt=0, le=1, description="The table's threshold answers this share. Default 0.9."
    )
    max_risk: float | None = Field(
        None, gt=0, lt=1, description="Or the table's threshold is certified for this risk."
    )
    max_class_risk: float | None = Field(
        None, gt=0, lt=1, description="Adds `promises`, as for a prediction with this policy by class."
    )
    max_missed: float | None = Field(None, gt=0, lt=1, description="The same.")
    risk_confidence: float | None = Field(
        None, ge=0.5, lt=1, description="Confidence of the certificates and bounds. Default 0.99."
    )
    minority_share: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Adds `mix`: the curve if this share of each class lacked its pattern, by "
        "the groups that the job inferred. Not with `max_risk`: nothing is certified for another mix.",
    )


class CurvePoint(Shape):
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


class MixedPoint(Shape):
    """One threshold on another mix of the images."""

    threshold: float = Field(description="That of the curve's point in the same place.")
    coverage: float
    risk: float | None = Field(None, description="Null if nothing is answered.")


class MixedCurve(Shape):
    """The curve if `minority_share` of each class lacked its pattern, of the classes that have samples of
    both kinds. An estimate by groups that nobody labelled; no bound holds for it."""

    minority_share: float
    n_lacking: int = Field(description="Calibration samples that lack the pattern, as the job inferred.")
    n_rest: int = Field(description="Those that show it.")
    points: list[MixedPoint]
    statement: str = Field(description="What the figures are, in words.")


class GroupRow(Shape):
    """One group or class of the calibration split at the threshold of the table.

    A certificate says nothing about a group, so each has its own bound. The bounds hold one by one.
    """

    group: str
    n: int
    n_answered: int
    n_errors: int
    coverage: float
    risk: float | None = Field(None, description="Null if nothing is answered.")
    risk_upper: float = Field(
        description="Clopper–Pearson upper bound at `risk_confidence`, for this group alone."
    )
    verdict: GroupVerdict | None = Field(
        None,
        description="`bound_below`: the bound is at most the table's `max_risk`. `bound_above`: it is not. "
        "`too_few`: so few are answered that it could not be, even without an error. Null if no `max_risk` "
        "was requested. This is not a certificate: many rows at this confidence are not one promise.",
    )
    aurc: float | None = None
    needed: int | None = Field(
        None,
        description="If the bound is above `max_risk`: how many more calibration samples of this group would "
        "bring it down, at this coverage and without a further error. Null otherwise, or without answers.",
    )


class GroupTable(Shape):
    """Each group and each class at one threshold."""

    policy: Literal["coverage", "max_risk"]
    requested: float = Field(description="The coverage, or the risk, that the threshold is for.")
    status: SelectionStatusName
    threshold: float | None = Field(None, description="On the scale of `score`; null if there is none.")
    best_certifiable_risk: float | None = Field(
        None, description="If not certifiable: the lowest risk that would have been, for planning only."
    )
    samples_needed: int | None = Field(
        None, description="If not certifiable: calibration samples that would likely do; null: none would."
    )
    max_risk: float | None = Field(
        None, description="The requested risk, which the bounds are compared with; null for a `coverage`."
    )
    risk_confidence: float
    groups: list[GroupRow] = Field(
        [], description="Those of the data set, else those that the job inferred; empty if there are none."
    )
    groups_inferred: bool = Field(False, description="Nobody labelled the groups: the job inferred them.")
    group_coverage_ratio: float | None = Field(
        None, description="Smallest coverage of a group over the largest; 1 is even. Null below two groups."
    )
    classes: list[GroupRow] = Field(
        [], description="By the true class; empty for a calibration without class counts."
    )
    class_coverage_ratio: float | None = None


class RiskCoverage(Shape):
    """How the share of wrong answers falls as fewer inputs are answered, on the calibration split."""

    model: str
    calibration: CalibrationRef | None = None
    score_name: str
    n: int = Field(description="Samples that count: one of each subject, each picture once.")
    n_subjects: int | None = Field(
        None, description="How many of them are the one image of a subject. Null: the split has no subjects."
    )
    aurc: float | None = Field(
        None, description="Area under the curve: mean risk over the coverages. Lower is better."
    )
    augrc: float | None = Field(
        None, description="Area under the generalised curve (Traub et al. 2024). Lower is better."
    )
    confidence: float = Field(description="Confidence of each pair of bounds.")
    points: list[CurvePoint] = Field([], description="In order of rising coverage.")
    chosen_before_looking: Literal["low, high"] = Field(
        "low, high", description="The bounds for a point that was fixed before the curve was seen."
    )
    chosen_after_looking: Literal["band_low, band_high"] = Field(
        "band_low, band_high", description="The only bounds for a point that was picked from the curve."
    )
    statement: str = Field(description="The same in words.")
    mix: MixedCurve | None = Field(None, description="Null unless `minority_share` was requested.")
    table: GroupTable
    promises: list[ClassPromise] | None = Field(
        None, description="By class; null unless `max_class_risk` or `max_missed` was requested."
    )


class ShareOf(Shape):
    """`k` of `n`."""

    k: int
    n: int
    share: float | None = Field(None, description="Null if `n` is 0.")


class DriftTest(Shape):
    """One share on the calibration split and in service."""

    name: str = Field(
        description="`surest_50`, `surest_80`, `surest_95`: inputs at or above the score that 50, 80 or 95 % "
        "of the calibration split reach, whatever policy was requested. `disagreement`: inputs that the "
        "model and its ERM half label differently."
    )
    calibration: ShareOf
    deployed: ShareOf
    p_value: float = Field(description="Fisher's exact test, two-sided: twice the smaller tail.")
    p_adjusted: float = Field(description="The same times the number of tests (Bonferroni).")
    drifted: bool = Field(description="`p_adjusted` is at most the `level` of the look.")


class DriftLook(Shape):
    """A window of inputs that was compared with the calibration split."""

    at: Time
    inputs: int = Field(description="Independent inputs of the window.")
    level: float = Field(description="Level of all tests of this look together.")


class Served(Shape):
    """The decisions on uploaded images, under the policy of each request."""

    inputs: int
    independent: int | None = Field(
        None,
        description="Inputs that the tests count: one of each subject that requests name, for each "
        "calibration and process of the service, and every input without a subject.",
    )
    answered: int
    abstained: dict[AbstainReasonName, int] = {}
    coverage: float | None = None


class Drift(DriftState):
    """Whether a model's inputs still look like its calibration split. Needs no labels.

    Windows of inputs are compared with the split, one after the other: of `window_inputs` independent inputs,
    of twice as many, and so on.
    """

    model: str
    calibration: str = Field(description="Id of the calibration; counts under earlier ones are left out.")
    score_name: str | None = Field(None, description="The score that is tested: the calibration's own.")
    days: int = Field(description="How far back the counts go.")
    since: Time | None = Field(None, description="The first hour counted; null if nothing was served.")
    served: Served
    look: DriftLook | None = Field(
        None, description="The look that found drift, else the last one; null if there was none."
    )
    tests: list[DriftTest] = Field([], description="Those of `look`.")
    open_inputs: int | None = Field(
        None,
        description="Independent inputs of the window that is not complete yet. Once drift is found, none "
        "are counted until it is acknowledged.",
    )
    window_inputs: int | None = Field(None, description="Independent inputs that complete a window.")
    alpha: float = Field(
        description="Probability that drift is ever found although nothing changed, since the calibration or "
        "the acknowledgement, over all looks."
    )
    method: str | None = None
    certificate_trusted: bool | None = Field(
        None,
        description="False if drift was found: a certificate is for inputs like those of the split. Null if "
        "there were too few inputs to find any.",
    )
    statement: str
