"""How reliable probabilities are, and what may be answered at a given risk."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masktune.contract.report.base import Section

CertificateStatus = Literal["certified", "not_certifiable"]


class ReliabilityBin(Section):
    """Samples whose top probability is in (`low`, `high`]: mean probability against accuracy."""

    low: float
    high: float
    n: int
    correct: int
    confidence: float
    accuracy: float
    accuracy_low: float | None = None
    accuracy_high: float | None = None


class Reliability(Section):
    """How well predicted probabilities match the accuracy on `n` samples; 95 % intervals.

    `ece` and `mce` are the mean and the largest gap over the bins; a perfectly calibrated model exceeds
    `ece_by_chance` on 5 % of samples like this one. `overconfidence` is mean probability − accuracy. `nll` is
    in nats, `brier` over all classes (0..2). `non_finite` answers were left out.
    """

    n: int
    n_subjects: int | None = None
    non_finite: int = 0
    ece: float
    ece_low: float
    ece_high: float
    ece_by_chance: float
    mce: float
    overconfidence: float
    overconfidence_low: float
    overconfidence_high: float
    nll: float
    nll_low: float
    nll_high: float
    brier: float
    brier_low: float
    brier_high: float
    bins: list[ReliabilityBin]


class Temperature(Section):
    """The temperature of the probabilities that predictions show, and the `n` samples it was fitted on."""

    value: float
    split: str | None
    n: int


class RiskCurvePoint(Section):
    """One threshold. `low`, `high` hold for it alone; `band_low`, `band_high` for all points at once."""

    threshold: float
    coverage: float
    risk: float
    answered: int
    errors: int
    low: float
    high: float
    band_low: float
    band_high: float


class _IndependentSamples(Section):
    """What is true of `n` independent samples, at `confidence`: of each of `n_subjects` subjects one image
    counts, drawn at random. Null: the split has no subjects."""

    score_name: str
    n: int
    n_subjects: int | None = None
    copies_left_out: int | None = None
    same_subject_left_out: int | None = None
    confidence: float


class RiskCurve(_IndependentSamples):
    """Selective risk over ascending coverage on `n` samples; AURC and AUGRC as shares.

    The samples are independent: of each of `n_subjects` subjects one image counts, drawn at random.
    """

    points: list[RiskCurvePoint]
    aurc: float | None
    augrc: float | None


class _Coverage(Section):
    """How much may be answered."""

    status: CertificateStatus
    coverage: float
    answered: int
    errors: int
    samples_needed: int | None = None


class SimultaneousCertificate(_Coverage):
    """What holds together with the other risks and `models` of the report, so that a risk, too, may be chosen
    after looking."""


class Certificate(_Coverage):
    """The share of inputs that a model may answer so that at most `max_risk` of its answers are wrong. If not
    certifiable, `samples_needed` calibration samples would likely do; null: no number would."""

    max_risk: float
    coverage_low: float
    coverage_high: float
    risk_upper: float | None
    simultaneous: SimultaneousCertificate | None = None


class Certificates(_IndependentSamples):
    """Certificates of one model from `n` independent images of its calibration split: of each of `n_subjects`
    subjects one, drawn at random. Null: the split has no subjects. Those of one risk hold at `confidence` for
    all `models` of the report at once (Bonferroni), so that a model may be chosen after looking.
    """

    models: int = Field(1, description="1 as well in reports of version 0.1.0, whose models hold one by one.")
    best_certifiable_risk: float | None = Field(
        description="The lowest risk that would have been certified at `confidence`, for this model alone. "
        "For planning: it carries no promise."
    )
    targets: list[Certificate]
