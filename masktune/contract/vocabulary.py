"""The vocabulary of the service, with a definition of each word, for code, API, docs and logs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal


class JobKind(StrEnum):
    """What a job does."""

    IMPORT = "import"
    """Unpack, check and pack an upload into a data set."""
    MITIGATE = "mitigate"
    """The way past a shortcut that suits the data: ERM, a last layer retrained over inferred groups, MaskTune
    where the whole network is trained, a control for each, and one recommendation."""
    ERM = "erm"
    """Train a classifier by empirical risk minimisation: the plain first training."""
    MASK = "mask"
    """Compute a mask set: the saliency of every training image under a model, thresholded."""
    FINETUNE = "finetune"
    """Continue training a model for one epoch on the masked images of a mask set."""
    MASKTUNE = "masktune"
    """The whole method: erm, infer_groups, mask, finetune, control, calibrate, evaluate."""
    RETRAIN_HEAD = "retrain_head"
    """Keep the backbone and retrain the last layer, balanced over groups."""
    EVALUATE = "evaluate"
    """Measure a model on the splits of a data set."""
    PREDICT = "predict"
    """Predict every sample of a split and write the answers to a file."""


class JobState(StrEnum):
    """Where a job is in its life cycle. The last three states are final, unless the job is resumed."""

    QUEUED = "queued"
    """Waits for a worker: new, given back, or awaiting its next attempt."""
    RUNNING = "running"
    """A worker holds its lease."""
    CANCELLING = "cancelling"
    """Cancellation was requested while it ran; its child process is being ended."""
    SUCCEEDED = "succeeded"
    """Every stage is done."""
    FAILED = "failed"
    """A stage failed; `error` says why and what to do."""
    CANCELLED = "cancelled"
    """Ended on request."""

    @property
    def ended(self) -> bool:
        return self in ENDED


ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})
ACTIVE = frozenset(JobState) - ENDED
RESUMABLE = frozenset({JobState.FAILED, JobState.CANCELLED})


class Stage(StrEnum):
    """One step of a job: reads artifacts, writes one artifact, marks itself done."""

    IMPORT = "import"
    ERM = "erm"
    INFER_GROUPS = "infer_groups"
    MASK = "mask"
    FINETUNE = "finetune"
    CONTROL = "control"
    RETRAIN_HEAD = "retrain_head"
    HEAD_CONTROL = "head_control"
    REPEAT = "repeat"
    CALIBRATE = "calibrate"
    EVALUATE = "evaluate"
    PREDICT = "predict"


STAGE_NAMES: Mapping[str, str] = {
    Stage.IMPORT: "checking images",
    Stage.ERM: "plain training",
    Stage.INFER_GROUPS: "inferring groups",
    Stage.MASK: "masking",
    Stage.FINETUNE: "masked finetuning",
    Stage.CONTROL: "control training",
    Stage.RETRAIN_HEAD: "last-layer retraining",
    Stage.HEAD_CONTROL: "last-layer control",
    Stage.REPEAT: "training with other seeds",
    Stage.CALIBRATE: "calibration",
    Stage.EVALUATE: "evaluation",
    Stage.PREDICT: "prediction",
}
"""What the stages are called where people read them."""
STAGES: dict[JobKind, tuple[Stage, ...]] = {
    JobKind.IMPORT: (Stage.IMPORT,),
    JobKind.MITIGATE: (
        Stage.ERM,
        Stage.INFER_GROUPS,
        Stage.RETRAIN_HEAD,
        Stage.HEAD_CONTROL,
        Stage.MASK,
        Stage.FINETUNE,
        Stage.CONTROL,
        Stage.REPEAT,
        Stage.CALIBRATE,
        Stage.EVALUATE,
    ),
    JobKind.ERM: (Stage.ERM, Stage.INFER_GROUPS, Stage.CALIBRATE, Stage.EVALUATE),
    JobKind.MASK: (Stage.MASK,),
    JobKind.FINETUNE: (Stage.FINETUNE, Stage.CALIBRATE, Stage.EVALUATE),
    JobKind.MASKTUNE: (
        Stage.ERM,
        Stage.INFER_GROUPS,
        Stage.MASK,
        Stage.FINETUNE,
        Stage.CONTROL,
        Stage.CALIBRATE,
        Stage.EVALUATE,
    ),
    JobKind.RETRAIN_HEAD: (
        Stage.INFER_GROUPS,
        Stage.RETRAIN_HEAD,
        Stage.HEAD_CONTROL,
        Stage.CALIBRATE,
        Stage.EVALUATE,
    ),
    JobKind.EVALUATE: (Stage.CALIBRATE, Stage.EVALUATE),
    JobKind.PREDICT: (Stage.PREDICT,),
}
"""The stages of each kind, in order."""
_OF_MASKTUNE = frozenset({Stage.MASK, Stage.FINETUNE, Stage.CONTROL})
_OF_CONTROLS = frozenset({Stage.CONTROL, Stage.HEAD_CONTROL})


def stages_of(kind: JobKind, params: Mapping[str, Any]) -> tuple[Stage, ...]:
    """The stages of a job with these parameters, in order: without those that it was asked to leave out."""
    skipped: frozenset[Stage] = frozenset()
    if not params.get("control", True):
        skipped |= _OF_CONTROLS
    if kind is JobKind.MITIGATE and not params["masktune"]:
        skipped |= _OF_MASKTUNE
    if params.get("seeds", 1) == 1:
        skipped |= {Stage.REPEAT}
    if params.get("job") is not None:  # images that judge a job's models calibrate nothing
        skipped |= {Stage.CALIBRATE}
    return tuple(stage for stage in STAGES[kind] if stage not in skipped)


class EstimateSource(StrEnum):
    """Where an estimate of a job's time comes from."""

    MEASURED = "measured"
    """From the rates of ended jobs with the same network, image size and trained part."""
    GUESSED = "guessed"
    """There is no such job: from a table of orders of magnitude, for two CPU cores."""


class DatasetState(StrEnum):
    """Whether a data set can be used."""

    IMPORTING = "importing"
    READY = "ready"
    INVALID = "invalid"


Split = Literal["train", "val", "calibration", "test", "no_fg", "only_bg_b", "only_bg_t"]
"""Splits of a data set; the last three are the Background Challenge's images without an object."""


class Arm(StrEnum):
    """Which model of a comparison this is."""

    ERM = "erm"
    """The plain training."""
    MASKTUNE = "masktune"
    """ERM, then finetuned on masked images."""
    RETRAINED = "retrained"
    """The backbone of another model with its last layer retrained, balanced over groups."""
    MASKTUNE_CONTROL = "masktune_control"
    """ERM, then continued for the budget of MaskTune's finetune, without masks."""
    RETRAINED_CONTROL = "retrained_control"
    """The last layer fitted like the retrained one, but balanced over classes alone."""
    IMPORTED = "imported"
    """Imported by a user as a safetensors file."""
    BASELINE = "baseline"
    """Only in a job's figures: the model that the judged one was made from, where its own arm (a control, or
    retrained) means another model there. No model has this arm."""


CONTROL_OF = {Arm.MASKTUNE: Arm.MASKTUNE_CONTROL, Arm.RETRAINED: Arm.RETRAINED_CONTROL}
"""Each arm that is judged, with its control: the same budget without what is judged."""
CONTROLS = tuple(CONTROL_OF.values())


class WeightsPlace(StrEnum):
    """Where the published weights of a network are, nearest first."""

    PACKAGED = "packaged"
    """In a Python package that the service depends on: always there."""
    CACHED = "cached"
    """On this host, in the cache of the Hugging Face hub or of torch hub."""
    HUB = "hub"
    """On the internet: fetched when a job asks for `pretrained`."""
    NONE = "none"
    """Nowhere, or without a classifier: a job cannot ask for `pretrained`."""


class Scope(StrEnum):
    """What a key may do."""

    READ = "read"
    PREDICT = "predict"
    TRAIN = "train"
    REVIEW = "review"
    ADMIN = "admin"
    """Everything, including deletes and aliases."""


class EventType(StrEnum):
    """What an event of a job reports."""

    STATE = "state"
    STAGE = "stage"
    PROGRESS = "progress"
    METRICS = "metrics"
    LOG = "log"


class WebhookEvent(StrEnum):
    """What webhooks can be told of."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_CANCELLED = "job.cancelled"
    DATASET_READY = "dataset.ready"
    DATASET_INVALID = "dataset.invalid"
    MODEL_DRIFTED = "model.drifted"
    """The inputs of a model drifted; the model stays usable."""
    MODEL_PROMISE_BROKEN = "model.promise_broken"
    """The answers to a model's audit sample show that more are wrong than was promised."""


class Decision(StrEnum):
    """What the reject option decided for one input."""

    ANSWER = "answer"
    ABSTAIN = "abstain"
    UNREADABLE = "unreadable"
    """Only in the table of a predict job: the import of the data set left the file out."""


class AbstainReason(StrEnum):
    """Why an input was not answered."""

    BELOW_THRESHOLD = "below_threshold"
    NO_CERTIFIED_THRESHOLD = "no_certified_threshold"
    UNLIKE_TRAINING = "unlike_training"


class SelectionStatus(StrEnum):
    """What the threshold of an answer rests on."""

    CERTIFIED = "certified"
    """A Learn-then-Test certificate on the calibration split."""
    PARTLY_CERTIFIED = "partly_certified"
    """By class: some of the promises are certified, and the others have too few calibration samples."""
    TARGET_COVERAGE = "target_coverage"
    """The rank in the calibration split that answers the requested share."""
    RAW_THRESHOLD = "raw_threshold"
    """The client's own number."""
    NOT_CERTIFIABLE = "not_certifiable"
    """No threshold keeps the requested risk at this confidence with these calibration samples."""
    NONE = "none"
    """No policy was requested: every input is answered."""


class ReviewKind(StrEnum):
    """Why an image is in a review queue: abstained ones may be trained on, the audit sample monitors."""

    ABSTAINED = "abstained"
    AUDIT = "audit"


class ReviewOutcome(StrEnum):
    """What a person said of an image of a review queue."""

    LABEL = "label"
    NONE_OF_THE_CLASSES = "none_of_the_classes"
    SKIP = "skip"


class UsageKind(StrEnum):
    """What is counted for the images that a model is sent: the decisions, and what drift is measured by."""

    INPUTS = "inputs"
    """Images sent for prediction."""
    REPEATS = "repeats"
    """Inputs whose subject the same process had already counted that day. What drift is measured by leaves
    them out."""
    ANSWERED = "answered"
    BELOW_THRESHOLD = "below_threshold"
    """Abstained: the score was below the request's threshold, or not finite."""
    NO_CERTIFIED_THRESHOLD = "no_certified_threshold"
    """Abstained: no threshold could be certified."""
    UNLIKE_TRAINING = "unlike_training"
    """Abstained: the input is unlike the training images."""
    PAIRS = "pairs"
    """Answered by the model and its ERM half."""
    DISAGREEMENTS = "disagreements"
    """Pairs whose two labels differ."""
    ABOVE_50 = "surest_50"
    """Above the threshold that answers 50 % of the calibration split, whatever policy was requested."""
    ABOVE_80 = "surest_80"
    ABOVE_95 = "surest_95"
