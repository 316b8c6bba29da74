"""Models, their aliases, and the networks that a job may name: requests and responses."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from masktune.contract.base import (
    ArmName,
    ClassName,
    DatasetRef,
    File,
    Metadata,
    ModelRef,
    Name,
    Resource,
    Shape,
    Strict,
    Time,
    WeightsPlaceName,
    Word,
)

DriftStatus = Literal["drifted", "no_sign_of_drift", "too_few"]
PromiseStatus = Literal["holds", "not_enough", "broken", "unanswered"]
ANSWERS_TO_NOTICE = (
    "Answers after which, in nine cases of ten, a risk that rose to twice `max_risk` is noticed{}. Null: "
    "more than 20,000, or there is no `max_risk`."
)
ALIAS_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"


class AliasTarget(Strict):
    """Where an alias should point."""

    model: ModelRef = Field(description="Id of a model, or another alias.")


class RollbackTarget(Strict):
    """Which move to go back to."""

    version: int | None = Field(
        None, ge=1, description="A version from the history; null: the model before the current one."
    )


class ModelImport(Strict):
    """The fields that accompany a safetensors file."""

    dataset: DatasetRef | None = Field(
        None, description="The data set that the model belongs to; it must have the same classes."
    )
    name: Name | None = Field(None, description="What to call the model.")
    metadata: Metadata = Field(default_factory=dict, description="Notes of your own, a JSON object.")
    backbone: Word = Field(
        description="`small_cnn`, `resnet32`, or a torchvision or timm classifier by name."
    )
    classes: list[ClassName] = Field(
        min_length=2, max_length=100_000, description="Names, in the order of the outputs."
    )
    image_size: int = Field(ge=8, le=1024, description="Side in pixels of the square that the network sees.")


class ModelUpload(ModelImport):
    """The form of the import of a safetensors file."""

    # OpenAPI would have an array sent as several parts of one name.
    classes: Annotated[
        list[ClassName],
        WithJsonSchema(
            {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            }
        ),
    ] = Field(description="Names, in the order of the outputs, as a JSON list.", examples=['["cat", "dog"]'])
    file: File = Field(description="A safetensors file; never a pickle.")


# --- responses ----


class SplitMetrics(Shape):
    """Figures of one split, as shares in 0..1; the job's report adds n and intervals."""

    accuracy: float | None = Field(None, description="Plain mean over the samples.")
    balanced_accuracy: float | None = Field(None, description="Mean over the classes.")
    worst_class_accuracy: float | None = Field(None, description="Lowest of the classes.")
    worst_group_accuracy: float | None = Field(None, description="Lowest of the groups; null without groups.")
    train_weighted_accuracy: float | None = Field(
        None, description="Mean over the groups, weighted by their shares of the training samples."
    )
    groups: dict[str, float] | None = Field(None, description="Accuracy by group, if there are any.")


class ModelMetrics(Shape):
    """Figures by split; null if the split was not measured."""

    val: SplitMetrics | None = None
    test: SplitMetrics | None = None


GroupsSource = Literal["labelled", "inferred"]


class Evaluation(Shape):
    """What the model reached on the test images of a data set, as shares in 0..1."""

    dataset: str = Field(description="Id of the data set; it may have been deleted since.")
    dataset_name: str = Field(description="What it was called when the model was evaluated.")
    n: int = Field(description="Images that were evaluated.")
    groups: GroupsSource | None = Field(
        description="Whose groups they are. Null: there are none, or they are too small to decide. "
        "Where all images were said to break the pattern, the classes are labelled groups."
    )
    smallest_group: int | None = Field(
        description="Images of the smallest group that decides, copies once; its subjects where "
        "there are any. Null: no groups decide."
    )
    accuracy: float = Field(description="Plain mean over the images.")
    worst_group_accuracy: float | None = Field(description="Lowest of the groups; null without groups.")
    low: float | None = Field(
        description="Lower end of the 95 % interval: of `worst_group_accuracy` if groups decide, "
        "else of `accuracy`."
    )
    high: float | None = Field(description="Upper end of that interval.")
    created_at: Time
    job: str | None = Field(
        None,
        description="The job that evaluated it; null once it was deleted.",
    )


_EVIDENCE = ("labelled", "inferred", None)
"""Whose groups an evaluation rests on, those that say the most first."""


def evidence_rank(
    groups: GroupsSource | None, smallest_group: int | None, at: datetime
) -> tuple[int, int, float]:
    """Lowest for what rests on the most: on labelled groups, then inferred ones, then none; of these,
    that with the largest smallest group; then the newest."""
    return _EVIDENCE.index(groups), -(smallest_group or 0), -at.timestamp()


def in_order_of_evidence(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The one that rests on the most first (`evidence_rank`)."""
    return sorted(
        evaluations,
        key=lambda one: evidence_rank(one.groups, one.smallest_group, one.created_at),
    )


class CalibrationRef(Shape):
    """The calibration that the reject option of this model rests on."""

    id: str
    n: int = Field(
        description="Samples of the calibration split that count: one of each subject, each picture once."
    )
    n_subjects: int | None = Field(
        None,
        description="How many of them are the one image of a subject, drawn at random. Null: the split has "
        "no subjects.",
    )
    copies_left_out: int | None = Field(
        None,
        description="Samples of the split that were left out: copies of a picture that comes earlier in the "
        "split, or is in `train` or `val` too. Null for a calibration that does not say, and may have "
        "counted them.",
    )
    same_subject_left_out: int | None = Field(
        None,
        description="Samples that were left out because another image of their subject counts, or because "
        "the subject is in `train` or `val` too. Null: the split has no subjects.",
    )
    score_name: str | None = Field(None, description="The score that is used if none is requested.")
    scores: list[str] = Field([], description="Scores that may be requested.")
    temperature: float | None = Field(
        None, description="Temperature of the model's probabilities, fitted on the validation split."
    )
    unlike_threshold: float | None = Field(
        None,
        description="The distance above which an input is unlike the training images of the data set that "
        "the model was calibrated on. Null: no input is called unlike. It takes a network that ends in one "
        "linear layer, and 99 images of the validation split, one per subject, that are not in `train`.",
    )
    created_at: Time | None = None
    job: str | None = Field(None, description="The job that counted the split; null if it is not known.")


class PatternJudgeRef(Shape):
    """The judge that says of a new image which class's pattern it shows."""

    job: str = Field(description="The job that inferred the patterns; it may have been deleted since.")
    module: str = Field(description="The module of the network whose output it judges by.")
    created_at: Time


class DriftState(Shape):
    """Whether the inputs that the model was served differ from its calibration split."""

    status: DriftStatus = Field(
        description="`drifted`: drift was found. It stays so until the model is calibrated anew or somebody "
        "acknowledges it, whatever inputs follow. `too_few`: since the calibration or the acknowledgement, "
        "too few inputs came to tell."
    )
    found_at: Time | None = Field(
        None, description="When drift was last found under this calibration, acknowledged or not."
    )
    acknowledged_at: Time | None = Field(
        None, description="When drift was last acknowledged; what is tested began anew then."
    )
    acknowledged_by: str | None = Field(
        None,
        description="Id of the key that acknowledged it, or `user:` and the name of the person; null for a "
        "key of the operator, or without keys.",
    )


class Promise(Shape):
    """Whether `max_risk` is kept for what the model is sent, by the answers to its audit sample alone.

    Images count in the order in which they were drawn, up to the first that waits for an answer. An image
    that a person skipped, or that was deleted before anybody answered, counts as wrong:
    it could hide an
    error.
    """

    status: PromiseStatus = Field(
        description="`holds`: the risk is below `max_risk` with confidence, if it did not change meanwhile. "
        "`broken`: it is above. `unanswered`: only if all skipped and deleted images are wrong. The chance "
        "of ever being wrongly told `broken` is 1 − `risk_confidence`."
    )
    answers: int = Field(description="Images that count.")
    errors: int = Field(description="Of these, those that count as wrong.")
    skipped: int = Field(0, description="Of the errors, images that a person skipped.")
    deleted: int = Field(0, description="Of the errors, images that were deleted unanswered.")
    left_out: int = Field(
        0, description="Copies, and further images of a subject, that were drawn and left out."
    )
    lost: int = Field(
        0, description="Images that were drawn, and lost: the queue, the disk or the database was full."
    )
    full_since: Time | None = Field(
        None,
        description="Since when no image has joined the audit sample: those that wait for an answer take all "
        "bytes of the policy.",
    )
    recent_errors: int | None = Field(None, description="Errors among the last `answers_to_notice` images.")
    judged_at: Time | None = Field(None, description="When the images that count last changed.")
    noticed_at: Time | None = Field(None, description="When it was noticed that the promise is broken.")
    max_risk: float
    risk_confidence: float
    answers_to_notice: int | None = Field(
        None, description=ANSWERS_TO_NOTICE.format(" after the `answers` so far")
    )


class Model(Resource):
    """A trained or imported network."""

    dataset: str | None = Field(None, description="The data set it was trained on.")
    job: str | None = Field(None, description="The job that made it; null once it was deleted.")
    arm: ArmName
    backbone: str
    classes: list[str]
    image_size: int = Field(description="Side in pixels of the square that the network sees.")
    erm: str | None = Field(None, description="The ERM model it was tuned from: the other half of the pair.")
    calibration: CalibrationRef | None = None
    pattern_judge: PatternJudgeRef | None = Field(
        None,
        description="Null if no job inferred patterns with this network. A predict job then goes by the "
        "judge of the ERM model, if that has one.",
    )
    drift: DriftState | None = Field(None, description="Null for a model without a calibration.")
    promise: Promise | None = Field(
        None, description="Null unless the model's review policy names a `max_risk`, and it is calibrated."
    )
    metrics: ModelMetrics = ModelMetrics()
    evaluations: list[Evaluation] = Field(
        [],
        description="Of each job that evaluated it on test images. The one that rests on the most is "
        "first: on labelled groups, then inferred ones, then none; of these, that with the largest "
        "smallest group; then the newest. An evaluation goes when its `evaluate` job is deleted; that "
        "of a training stays.",
    )
    created_at: Time


class AliasMove(Shape):
    """One move of an alias."""

    version: int
    model: str | None = Field(description="Null: the alias was removed.")
    created_by: str | None = Field(
        None,
        description="Id of the key that moved it, or `user:` and the name of the person; null for a key of "
        "the operator, or without keys.",
    )
    at: Time


class Alias(Shape):
    """A name that may stand wherever a model id may."""

    name: str
    model: str
    version: int = Field(description="Number of moves so far.")
    updated_at: Time
    drift: DriftState | None = Field(
        None, description="Of the model; null for a model without a calibration."
    )


class AliasWithHistory(Alias):
    history: list[AliasMove] = Field([], description="The last 100 moves, newest first.")


class Aliases(Shape):
    """Every alias, by name."""

    data: list[Alias]


class Backbone(Shape):
    """A network that a job may name."""

    name: str = Field(description="For `backbone` of a job.")
    library: str = Field(description="`timm`, `torchvision`, or `own` for the two of this project.")
    weights: WeightsPlaceName = Field(
        description="Its published weights, as the host of the API sees them: `packaged` with the service, "
        "`cached` on this host, on a `hub`, from which a job with `pretrained` fetches them, or `none`."
    )
    image_size: int | None = Field(
        None, description="Side in pixels of the images that its weights were made for; null if unknown."
    )
    weights_url: str | None = Field(
        None,
        description="Address of its published weights on the internet, to fetch them on another machine; "
        "null if they are `packaged` or `none`.",
    )
    license: str | None = Field(
        None,
        description="Licence of its published weights, as stated when they were added to this host, or else "
        "by the library; null if unknown.",
    )
