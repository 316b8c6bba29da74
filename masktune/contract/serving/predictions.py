"""Predictions with the reject option, and saliency maps: queries and responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from masktune.contract.base import (
    NO_NUL,
    AbstainReasonName,
    File,
    Query,
    SelectionStatusName,
    Shape,
    Strict,
    Time,
)
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.models import DriftState, Promise
from masktune.contract.vocabulary import Decision

PolicyName = Literal["coverage", "max_risk", "by_class", "min_score", "none"]
CERTIFIED_POLICIES: frozenset[PolicyName] = frozenset({"max_risk", "by_class"})
"""Those that certify, with `risk_confidence`."""
POLICY_OF: dict[str, PolicyName] = {
    "coverage": "coverage",
    "max_risk": "max_risk",
    "max_class_risk": "by_class",
    "max_missed": "by_class",
    "min_score": "min_score",
}
"""The policy that each field of a request belongs to."""
ModelQuery = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$", description="Id or alias of a model."),
]
DatasetQuery = Annotated[str, Field(max_length=32, description="Id of the data set that the sample is in.")]
SampleQuery = Annotated[int, Field(ge=0, lt=2**63, description="Number of the sample.")]


def policy_fields(request: object) -> dict[str, PolicyName]:
    """The fields that name a policy in a request, each with its policy, which may have several."""
    return {field: policy for field, policy in POLICY_OF.items() if getattr(request, field, None) is not None}


class PolicyQuery(Query):
    """When a model should abstain: at most one policy."""

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
    max_class_risk: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Policy by class: certify, for each class A, that at most this share of the answers A is "
        "wrong. May be combined with `max_missed`.",
    )
    max_missed: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Policy by class: certify, for each class A, that at most this share of the true A is "
        "answered as another class.",
    )
    risk_confidence: float | None = Field(
        None,
        ge=0.5,
        lt=1,
        description="Probability that `max_risk`, or all that is certified by class, is kept. Default 0.99.",
    )
    min_score: float | None = Field(
        None, gt=0, le=1, description="Policy: answer inputs with at least this `score`."
    )
    score: ScoreName | None = Field(None, description="Confidence score. Default: the calibration's.")
    on_uncertified: Literal["abstain", "error"] = Field(
        "abstain",
        description="If `max_risk`, or a promise by class, cannot be certified: abstain, or answer 409.",
    )


class DownloadQuery(PolicyQuery):
    """Which file of a model to send. A policy is for a bundle, whose graph has its threshold."""

    format: Literal["safetensors", "onnx", "bundle"] = Field(
        "safetensors",
        description="`onnx`: the network; its metadata have the thresholds of the present calibration. "
        "`bundle`: a zip of a graph that answers or abstains by itself, a card that says what the model "
        "promises, and what an import needs. Graphs are exported on the first download.",
    )


class PredictQuery(PolicyQuery):
    """A prediction by a model, and when it should abstain."""

    model: ModelQuery
    set_coverage: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Add `labels` to each prediction: a set that holds the true class of this share of the "
        "inputs of each class. May be combined with any policy.",
    )
    top_k: int = Field(5, ge=1, le=1000, description="Most candidates per prediction.")
    explain: bool = Field(False, description="Add the saliency map of the same forward pass.")


class UploadedPredictQuery(PredictQuery):
    """The same for the images of the request's body."""

    subject: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        pattern=NO_NUL,
        description="What all images of this request show: a patient, an animal, a burst. For drift, a "
        "subject counts as one input. It is not logged, and stored only with an image that joins a review "
        "queue.",
    )


class StoredPredictQuery(PredictQuery):
    """The same for a sample of a data set."""

    dataset: DatasetQuery
    sample: SampleQuery


View = Literal["overlay", "image", "heatmap", "mask", "mask_outline"]
SaliencyFormat = Literal["json", "png"]


class SaliencyQuery(Query):
    """Which map to compute, and how to show it."""

    model: ModelQuery
    method: str = Field(
        "xgradcam",
        max_length=40,
        description="A class activation method: xgradcam, gradcam, gradcam++, hirescam, layercam, "
        "gradcamelementwise, fem, fullgrad or randomcam. `fullgrad` runs the network again for each map, "
        "takes fewer images and has its own queue.",
    )
    target: str | None = Field(
        None, max_length=200, description="The class to explain, by name. Default: the predicted one."
    )
    sigmas: float | None = Field(
        None,
        ge=-10,
        le=10,
        description="Pixels above mean + `sigmas`·std of the positive values are masked. Default: as in the "
        "model's job, else 2.",
    )
    format: SaliencyFormat | None = Field(
        None, description="Default: `png` if `Accept` prefers a PNG, else `json`. `png` shows one image."
    )
    view: View = Field("overlay", description="Which picture to send as a PNG; JSON has them all.")


class StoredSaliencyQuery(SaliencyQuery):
    """The same for a sample of a data set."""

    dataset: DatasetQuery
    sample: SampleQuery


class ImageUpload(Strict):
    """The form of a request about uploaded images. The service accepts any field names."""

    file: list[File] = Field(min_length=1)


# --- responses ----


class Candidate(Shape):
    """A class and its softmax probability under the served model, at the calibration's temperature."""

    label: str
    probability: float


class Agreement(Shape):
    """The labels of both models of the pair. All null for a model without an ERM model."""

    erm: str | None = Field(None, description="The ERM model's label.")
    model: str | None = Field(None, description="The served model's label, whether or not it abstains.")
    agree: bool | None = None


class SaliencyMap(Shape):
    """Where the served model looked."""

    method: str
    target: str = Field(description="The class that the map explains.")
    size: tuple[int, int] = Field(description="Height and width of `map`.")
    map: list[list[float]] = Field(description="The raw map, at the network's own resolution, ≥ 0.")
    overlay: str = Field(description="The map over the image in grey, as a PNG in a `data:` address.")


class UnlikeTraining(Shape):
    """Whether an input is unlike the training images, by the inputs of the network's last layer."""

    distance: float = Field(
        description="1 − the cosine to the tenth nearest of at most 2,000 training images, 0..2."
    )
    threshold: float = Field(
        description="About 1 % of images like those of the validation split are further away."
    )
    unlike: bool = Field(
        description="The distance is above the threshold. With a policy, the model then abstains."
    )


class Prediction(Shape):
    """One input. `label` is null exactly when `decision` is `abstain`."""

    decision: Decision
    label: str | None
    abstain_reason: AbstainReasonName | None = None
    score: float | None = Field(
        None,
        description="The confidence in the answer, 0..1, which the threshold is compared with. For "
        "`max_softmax` it is the probability of the first candidate. Null if the network's output is not "
        "finite, which abstains.",
    )
    candidates: list[Candidate] = []
    labels: list[str] | None = Field(
        None,
        description="With `set_coverage`: the classes that the input may be, most likely first, whether or "
        "not it is answered. Empty only if the network's output is not finite. Null if not requested.",
    )
    unlike_training: UnlikeTraining | None = Field(
        None, description="Null if the model cannot tell, as its calibration says."
    )
    agreement: Agreement = Agreement()
    saliency: SaliencyMap | None = None


class Calibration(Shape):
    """What the threshold did on the calibration split."""

    id: str
    n: int = Field(description="Samples of the split that count: one of each subject, each picture once.")
    n_subjects: int | None = Field(
        None,
        description="How many of them are the one image of a subject, drawn at random. A certificate is then "
        "about a random image of a new subject. Null: the split has no subjects.",
    )
    n_answered: int
    n_errors: int
    coverage: float
    coverage_interval: tuple[float, float] | None = Field(None, description="Clopper–Pearson, 95 %.")
    risk: float | None = Field(None, description="Null if nothing is answered.")
    risk_upper: float | None = Field(
        None,
        description="The requested risk if certified, else the Clopper–Pearson bound at `risk_confidence`. "
        "By class: `max_class_risk`, which all answers together keep too, and 1 without it.",
    )
    risk_confidence: float | None = None
    method: str | None = None
    temperature: float = Field(
        1.0,
        description="Temperature of the model's probabilities, fitted on the validation split; 1: unchanged.",
    )
    created_at: Time | None = None


class ClassPromise(Shape):
    """What is certified for one class A, together with all other promises of the selection."""

    label: str = Field(description="The class A.")
    statement: Literal["risk", "missed"] = Field(
        description="`risk`: of the answers A, at most the share `requested` is wrong. `missed`: of the true "
        "A, at most this share is answered as another class."
    )
    requested: float
    status: Literal["certified", "too_few"] = Field(
        description="`too_few`: not certified, so nothing is promised; for `risk`, nothing is answered as A."
    )
    threshold: float | None = Field(
        None,
        description="On the scale of `score`. For `risk`: answers A have at least this score. For `missed`: "
        "what it demands of the answers of all other classes. Null if `too_few`.",
    )
    n: int = Field(description="Calibration samples: predicted as A for `risk`, of the class A for `missed`.")
    n_answered: int | None = Field(None, description="How many of them are answered; null for `missed`.")
    n_errors: int = Field(description="How many of them are answered wrongly at the threshold.")
    needed: int | None = Field(
        None,
        description="If `too_few`: how many more such samples would likely do for `risk`, if errors stay as "
        "frequent, and would do for `missed`. Null: no number would, since errors are too frequent.",
    )


class ClassCoverage(Shape):
    """How few of the inputs of a class the `labels` may name it for."""

    label: str
    n: int = Field(description="Its calibration samples.")
    coverage: float = Field(
        description="The share is below this in one of 20 calibrations on as many samples: the 5 % quantile "
        "of Beta(k, n + 1 − k), with k the rank of the sample whose probability is the threshold."
    )


class PredictionSets(Shape):
    """What the `labels` of the predictions rest on."""

    coverage: float = Field(
        description="Of the inputs of each class, at least this share has the class in `labels`: on average "
        "over the draw of the calibration split, for inputs like those of the split."
    )
    samples_at_least: int = Field(description="Calibration samples of a class that this takes.")
    lowest: ClassCoverage | None = Field(
        None, description="The class whose `coverage` here is lowest. Null if all classes are in `always`."
    )
    always: list[str] = Field(
        [], description="Classes that are in all `labels`, since they have fewer samples or give no output."
    )


class Selection(Shape):
    """The policy, and what its threshold rests on."""

    policy: PolicyName | None = None
    requested: float | None = Field(None, description="By class: `max_class_risk`.")
    status: SelectionStatusName = Field(
        description="It holds for inputs like those of the calibration split: see `drift`."
    )
    drift: DriftState | None = Field(
        None,
        description="Whether the inputs still are like those of the calibration split, as of at most some "
        "seconds ago. Null for a model without a calibration.",
    )
    promise: Promise | None = Field(
        None,
        description="Whether people found that the risk named in the model's review policy is kept, as of at "
        "most some seconds ago. Null without such a policy.",
    )
    threshold: float | None = Field(
        None,
        description="Inputs with at least this score are answered; null if there is none. Compared before "
        "rounding. By class, `promises` have the thresholds.",
    )
    score_name: ScoreName = "max_softmax"
    calibration: Calibration | None = None
    best_certifiable_risk: float | None = Field(
        None,
        description="If not certifiable: the lowest risk that this calibration would have certified, for "
        "planning only.",
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
    promises: list[ClassPromise] = Field(
        [], description="By class: one for each class and statement. All that are certified hold together."
    )
    sets: PredictionSets | None = Field(None, description="Null without `set_coverage`.")


class Answer(Shape):
    """One prediction for each image, in order. `model` is the id that answered."""

    model: str
    predictions: list[Prediction]
    selection: Selection


class ImageSaliency(Shape):
    """Where the model looked at one image. The pictures are PNGs in `data:` addresses; `heatmap`, `mask` and
    `mask_outline` are transparent layers, to be laid over `image`.
    """

    label: str = Field(description="The predicted class.")
    target: str = Field(description="The class that the map explains.")
    size: tuple[int, int] = Field(description="Height and width of `map`.")
    map: list[list[float]] = Field(description="The raw map, at the network's own resolution, ≥ 0.")
    masked_share: float = Field(description="Share of the pixels that MaskTune would mask, 0..1.")
    overlay: str = Field(description="One picture: the map over the image in grey.")
    image: str = Field(description="As the network sees it, small ones enlarged.")
    heatmap: str = Field(description="The map in colour; opacity rises with saliency.")
    mask: str = Field(description="The pixels that MaskTune would mask, as finetuning replaces them.")
    mask_outline: str


class SaliencyAnswer(Shape):
    """One map for each image, in order. `model` is the id that answered."""

    model: str
    method: str
    sigmas: float | None = Field(
        None, description="The threshold of the mask; null if the model's job masked a share of the pixels."
    )
    share: float | None = None
    images: list[ImageSaliency]
