"""Shapes of predictions with the reject option."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.http.schemas import Time
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.vocabulary import AbstainReason, Decision, SelectionStatus

ModelQuery = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$", description="Id or alias of a model."),
]
DatasetQuery = Annotated[str, Field(max_length=32, description="Id of the data set that the sample is in.")]
SampleQuery = Annotated[int, Field(ge=0, lt=2**63, description="Number of the sample.")]
PolicyName = Literal["coverage", "max_risk", "min_score", "none"]


class Query(BaseModel):
    """Query parameters. An unknown one is an error: a misspelt policy must not be ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class PredictQuery(Query):
    """A prediction by a model, and when it should abstain."""

    model: ModelQuery
    coverage: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Policy: answer this share of the inputs, the surest, if they are like those of the "
        "calibration split.",
    )
    max_risk: float | None = Field(
        None, gt=0, lt=1, description="Policy: certify that at most this share of the answers is wrong."
    )
    risk_confidence: float | None = Field(
        None, ge=0.5, lt=1, description="Probability that `max_risk` is kept. Default 0.99."
    )
    min_score: float | None = Field(
        None, gt=0, le=1, description="Policy: answer inputs with at least this `score`."
    )
    score: ScoreName | None = Field(None, description="Confidence score. Default: the calibration's.")
    on_uncertified: Literal["abstain", "error"] = Field(
        "abstain", description="If `max_risk` cannot be certified: abstain, or answer 409."
    )
    top_k: int = Field(5, ge=1, le=1000, description="Most candidates per prediction.")
    explain: bool = Field(False, description="Add the saliency map of the same forward pass.")


class StoredPredictQuery(PredictQuery):
    """The same for a sample of a data set."""

    dataset: DatasetQuery
    sample: SampleQuery


class Candidate(BaseModel):
    """A class and its softmax probability under the served model, at the calibration's temperature.

    For display only: decisions compare `score`, to which no temperature is applied.
    """

    label: str
    probability: float


class Agreement(BaseModel):
    """The labels of both models of the pair. All null for a model without an ERM model."""

    erm: str | None = Field(description="The ERM model's label.")
    masktune: str | None = Field(description="The served model's label, whether or not it abstains.")
    agree: bool | None


class SaliencyMap(BaseModel):
    """Where the served model looked."""

    method: str
    target: str = Field(description="The class that the map explains.")
    size: tuple[int, int] = Field(description="Height and width of `map`.")
    map: list[list[float]] = Field(description="The raw map, at the network's own resolution, ≥ 0.")
    overlay: str = Field(description="The map over the image, as a PNG in a `data:` address.")


class Prediction(BaseModel):
    """One input. `label` is null exactly when `decision` is `abstain`."""

    decision: Decision
    label: str | None
    abstain_reason: AbstainReason | None
    score: float | None = Field(
        description="0..1; null if the network's output is not finite, which abstains."
    )
    candidates: list[Candidate]
    agreement: Agreement
    saliency: SaliencyMap | None = None


class CalibrationUse(BaseModel):
    """What the threshold did on the calibration split."""

    id: str
    n: int = Field(description="Samples of the split, each picture once.")
    n_answered: int
    n_errors: int
    coverage: float
    coverage_interval: tuple[float, float] = Field(description="Clopper–Pearson, 95 %.")
    risk: float | None = Field(description="Null if nothing is answered.")
    risk_upper: float = Field(
        description="The requested risk if certified, else the Clopper–Pearson bound at `risk_confidence`."
    )
    risk_confidence: float
    method: str
    temperature: float = Field(
        1.0,
        description="Temperature of the candidates' probabilities, fitted on the validation split; 1: "
        "unchanged. It applies to neither scores nor thresholds.",
    )
    created_at: Time | None


class SelectionAnswer(BaseModel):
    """The policy, and what its threshold rests on."""

    policy: PolicyName
    requested: float | None
    status: SelectionStatus
    threshold: float | None = Field(
        description="Inputs with at least this score are answered; null if there is none. Compared before "
        "rounding."
    )
    score_name: ScoreName
    calibration: CalibrationUse | None
    best_certifiable_risk: float | None = Field(
        None,
        description="If not certifiable: the lowest risk that this calibration certifies, for planning only.",
    )
    samples_at_least: int | None = Field(
        None,
        description="If not certifiable: calibration samples that the requested risk takes even without an "
        "error.",
    )
    samples_needed: int | None = Field(
        None,
        description="If not certifiable: samples that it would likely take with this model; null if no "
        "number would do.",
    )


class PredictAnswer(BaseModel):
    """One prediction for each image, in order. `model` is the id that answered."""

    model: str
    predictions: list[Prediction]
    selection: SelectionAnswer
