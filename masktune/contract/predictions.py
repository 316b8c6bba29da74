"""Predictions with the reject option, and saliency maps: what the API answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masktune.contract.base import AbstainReasonName, SelectionStatusName, Shape, Time
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.vocabulary import Decision

PolicyName = Literal["coverage", "max_risk", "min_score", "none"]


class Candidate(Shape):
    """A class and its softmax probability under the served model, at the calibration's temperature.

    For display only: decisions compare `score`, to which no temperature is applied.
    """

    label: str
    probability: float


class Agreement(Shape):
    """The labels of both models of the pair. All null for a model without an ERM model."""

    erm: str | None = Field(None, description="The ERM model's label.")
    masktune: str | None = Field(None, description="The served model's label, whether or not it abstains.")
    agree: bool | None = None


class SaliencyMap(Shape):
    """Where the served model looked."""

    method: str
    target: str = Field(description="The class that the map explains.")
    size: tuple[int, int] = Field(description="Height and width of `map`.")
    map: list[list[float]] = Field(description="The raw map, at the network's own resolution, ≥ 0.")
    overlay: str = Field(description="The map over the image, as a PNG in a `data:` address.")


class Prediction(Shape):
    """One input. `label` is null exactly when `decision` is `abstain`."""

    decision: Decision
    label: str | None
    abstain_reason: AbstainReasonName | None = None
    score: float | None = Field(
        None, description="0..1; null if the network's output is not finite, which abstains."
    )
    candidates: list[Candidate] = []
    agreement: Agreement = Agreement()
    saliency: SaliencyMap | None = None


class Calibration(Shape):
    """What the threshold did on the calibration split."""

    id: str
    n: int = Field(description="Samples of the split, each picture once.")
    n_answered: int
    n_errors: int
    coverage: float
    coverage_interval: tuple[float, float] | None = Field(None, description="Clopper–Pearson, 95 %.")
    risk: float | None = Field(None, description="Null if nothing is answered.")
    risk_upper: float | None = Field(
        None,
        description="The requested risk if certified, else the Clopper–Pearson bound at `risk_confidence`.",
    )
    risk_confidence: float | None = None
    method: str | None = None
    temperature: float = Field(
        1.0,
        description="Temperature of the candidates' probabilities, fitted on the validation split; 1: "
        "unchanged. It applies to neither scores nor thresholds.",
    )
    created_at: Time | None = None


class Selection(Shape):
    """The policy, and what its threshold rests on."""

    policy: PolicyName | None = None
    requested: float | None = None
    status: SelectionStatusName
    threshold: float | None = Field(
        None,
        description="Inputs with at least this score are answered; null if there is none. Compared before "
        "rounding.",
    )
    score_name: ScoreName = "max_softmax"
    calibration: Calibration | None = None
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


class Answer(Shape):
    """One prediction for each image, in order. `model` is the id that answered."""

    model: str
    predictions: list[Prediction]
    selection: Selection


class ImageSaliency(Shape):
    """Where the model looked at one image. The pictures are PNGs in `data:` addresses."""

    label: str = Field(description="The predicted class.")
    target: str = Field(description="The class that the map explains.")
    size: tuple[int, int] = Field(description="Height and width of `map`.")
    map: list[list[float]] = Field(description="The raw map, at the network's own resolution, ≥ 0.")
    masked_share: float = Field(description="Share of the pixels that MaskTune would mask, 0..1.")
    overlay: str
    heatmap: str
    mask: str


class SaliencyAnswer(Shape):
    """One map for each image, in order. `model` is the id that answered."""

    model: str
    method: str
    sigmas: float | None = Field(
        None, description="The threshold of the mask; null if the model's job masked a share of the pixels."
    )
    share: float | None = None
    images: list[ImageSaliency]
