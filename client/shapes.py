"""The answers of the service as frozen objects. Fields that this version does not know are kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

DatasetState = Literal["importing", "ready", "invalid"]
JobState = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


class Shape(BaseModel):
    """Frozen, and tolerant: a newer service may say more."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class Page(Shape, Generic[T]):
    """A part of a list. Without `next_cursor` it is the last."""

    data: list[T]
    next_cursor: str | None = None


class Fact(Shape):
    """Something that the owner of a data set should know or mend."""

    code: str
    detail: str


class Rejected(Fact):
    """A file that is not in the data set, and why."""

    path: str


class ImportReport(Shape):
    """What the import found. `problems` make a data set invalid; `rejected` holds the first 1,000 files.

    `datasets.report` names them all.
    """

    count: int = 0
    problems: list[Fact] = []
    notes: list[Fact] = []
    rejected: list[Rejected] = []
    rejected_total: int = 0
    shortcuts: dict[str, Any] | None = None
    """Which simple property of an image tells its class; `strength` and `sentence` sum it up."""


class Duplicates(Shape):
    """Files of one picture, each with its split and label. `same_bytes`: the files are equal too."""

    paths: list[str]
    splits: list[str] = []
    labels: list[str] = []
    same_bytes: bool = False
    codes: list[str] = []


class FullReport(Shape):
    """What the import found, with every file by name. `rejected` should have been images of the data set;
    `ignored` was never meant to be."""

    name: str = ""
    count: int = 0
    problems: list[Fact] = []
    notes: list[Fact] = []
    rejected: list[Rejected] = []
    ignored: list[Rejected] = []
    duplicates: list[Duplicates] = []


class Group(Shape):
    """Samples that share class and attribute: measured, never trained on."""

    name: str
    n: int
    splits: dict[str, int] = {}


class Dataset(Shape):
    """A data set. `splits` counts the samples of each; `report` names what was rejected and why."""

    id: str
    name: str
    state: DatasetState
    format: str | None = None
    classes: list[str] = []
    splits: dict[str, int] = {}
    groups: list[Group] = []
    report: ImportReport | None = None
    job: str | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None


class Sample(Shape):
    """One image of a data set. `id` is its number there, `label` the name of its class."""

    id: int
    split: str
    label: str
    group: str | None = None
    path: str | None = None


class Progress(Shape):
    """How far a job is. `fraction` (0..1) is of the whole job."""

    fraction: float = 0.0
    stage: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    eta_seconds: float | None = None
    images_per_second: float | None = None


class Job(Shape):
    """A job. `models` maps each arm to a model's id, `metrics` each arm to its figures; `events` is the
    number of its newest event."""

    id: str
    kind: str
    state: JobState
    stage: str | None = None
    dataset: str | None = None
    progress: Progress = Field(default_factory=Progress)
    attempt: int = 0
    params: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    models: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    error: dict[str, Any] | None = None
    events: int = 0
    created_at: datetime | None = None
    queued_at: datetime | None = None
    started_at: datetime | None = None
    cancelling_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Preset(Shape):
    """Hyperparameters by name. `params` are the fields of a job that it sets, `released` more of them
    that `as_released` adds.
    """

    name: str
    title: str = ""
    description: str = ""
    data: str | None = None
    params: dict[str, Any] = {}
    released: dict[str, Any] = {}


class Event(Shape):
    """Something that happened to a job. `id` counts up by one from 1; of a job that ended some days ago,
    what only moved its bar is gone."""

    id: int
    type: str
    data: dict[str, Any] = {}
    at: datetime | None = None


class Model(Shape):
    """A trained or imported network."""

    id: str
    arm: str
    backbone: str
    classes: list[str]
    image_size: int | None = None
    dataset: str | None = None
    job: str | None = None
    erm: str | None = None
    calibration: dict[str, Any] | None = None
    metrics: dict[str, Any] = {}
    created_at: datetime | None = None


class CurvePoint(Shape):
    """One threshold of a risk-coverage curve, with its bounds and its part of the band."""

    threshold: float
    coverage: float
    risk: float
    n_answered: int
    n_errors: int
    low: float
    high: float
    band_low: float
    band_high: float


class GroupRow(Shape):
    """A group, or a class, at the threshold of its table. The bound is for it alone."""

    group: str
    n: int
    n_answered: int
    n_errors: int
    coverage: float
    risk: float | None = None
    risk_upper: float
    verdict: Literal["bound_below", "bound_above", "too_few"] | None = None
    aurc: float | None = None


class GroupTable(Shape):
    """Each group and class at one threshold. Bounds are compared with `max_risk`, where one was asked for."""

    policy: str
    requested: float
    status: str
    threshold: float | None = None
    max_risk: float | None = None
    risk_confidence: float
    groups: list[GroupRow] = []
    group_coverage_ratio: float | None = None
    classes: list[GroupRow] = []
    class_coverage_ratio: float | None = None


class RiskCoverage(Shape):
    """Risk over coverage on the calibration split. `statement` says which bounds hold after looking."""

    model: str
    score_name: str
    n: int
    aurc: float | None = None
    augrc: float | None = None
    confidence: float
    points: list[CurvePoint] = []
    statement: str
    table: GroupTable


class ShareOf(Shape):
    """`k` of `n`."""

    k: int
    n: int
    share: float | None = None


class DriftTest(Shape):
    """One share on the calibration split and in service."""

    name: str
    calibration: ShareOf
    deployed: ShareOf
    p_value: float
    p_adjusted: float
    drifted: bool


class Served(Shape):
    """What was decided for the images that were uploaded."""

    inputs: int
    answered: int
    abstained: dict[str, int] = {}
    coverage: float | None = None


class Drift(Shape):
    """Whether what a model is served still looks like its calibration split."""

    model: str
    calibration: str
    days: int
    since: datetime | None = None
    served: Served
    tests: list[DriftTest] = []
    alpha: float
    status: Literal["drifted", "no_sign_of_drift", "too_few"]
    certificate_trusted: bool | None = None
    statement: str


class AliasMove(Shape):
    """One move of an alias; a `model` of None removed it."""

    version: int
    model: str | None
    at: datetime


class Alias(Shape):
    """A name that stands for a model. `version` counts its moves."""

    name: str
    model: str
    version: int = 1
    updated_at: datetime | None = None
    history: list[AliasMove] = []


class Candidate(Shape):
    """A class and its probability."""

    label: str
    probability: float


class SaliencyMap(Shape):
    """Where a model looked at one image. The pictures are PNGs in `data:` addresses."""

    target: str
    size: tuple[int, int]
    map: list[list[float]]
    overlay: str
    heatmap: str | None = None
    mask: str | None = None
    masked_share: float | None = None


class SaliencyAnswer(Shape):
    """One map for each image, in order."""

    model: str
    method: str
    images: list[SaliencyMap]


class Prediction(Shape):
    """The answer to one image. `label` is None exactly when the model abstains."""

    decision: Literal["answer", "abstain"]
    label: str | None
    abstain_reason: str | None = None
    score: float | None = None
    candidates: list[Candidate] = []
    agreement: dict[str, Any] | None = None
    saliency: SaliencyMap | None = None


class Calibration(Shape):
    """What the threshold did on the calibration split, which trained and chose nothing."""

    id: str
    n: int
    n_answered: int
    n_errors: int
    coverage: float
    coverage_interval: tuple[float, float] | None = None
    risk: float | None = None
    risk_upper: float | None = None
    risk_confidence: float | None = None
    method: str | None = None
    temperature: float = 1.0


class Selection(Shape):
    """What the decisions rest on: the policy, its threshold, and the calibration behind it."""

    policy: str | None = None
    requested: Any = None
    status: str
    threshold: float | None = None
    score_name: str | None = None
    calibration: Calibration | None = None


class Answer(Shape):
    """`predictions` holds one entry per image, in the order they were sent."""

    model: str
    predictions: list[Prediction]
    selection: Selection


class Health(Shape):
    """The state of the service's parts, each with `name`, `ok` and `detail`."""

    status: str
    parts: list[dict[str, Any]] = []


class Limits(Shape):
    """How large what is sent may be: bytes, unless the name says otherwise."""

    max_body_bytes: int
    max_upload_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_images_per_request: int
    predict_image_bytes: int | None = None
    max_archive_entries: int
    max_archive_bytes: int
    max_archive_ratio: float


class Key(Shape):
    """A key, without its secret. With `revoked_at` it opens nothing."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime | None = None
    revoked_at: datetime | None = None


class NewKey(Key):
    """A key that has just been made. `secret` is None where its first answer was lost on the way."""

    secret: str | None = None
