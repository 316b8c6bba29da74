"""The service's answers as frozen objects. Unknown fields, e.g. of a newer service, are kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

DatasetState = Literal["importing", "ready", "invalid"]
JobState = Literal["queued", "running", "cancelling", "succeeded", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


class Shape(BaseModel):
    """The base of all answers: frozen, and accepts the additional fields of a newer service."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class Page(Shape, Generic[T]):
    """One page of a list. The last page has no `next_cursor`."""

    data: list[T]
    next_cursor: str | None = None


class Fact(Shape):
    """A finding that the owner of a data set should know about or fix."""

    code: str
    detail: str


class Rejected(Fact):
    """A file that was left out of the data set, and why."""

    path: str


class ImportReport(Shape):
    """The findings of an import. `problems` make a data set invalid; `rejected` holds the first 1,000 files.

    `datasets.report` lists all of them.
    """

    count: int = 0
    problems: list[Fact] = []
    notes: list[Fact] = []
    rejected: list[Rejected] = []
    rejected_total: int = 0
    shortcuts: dict[str, Any] | None = None
    """The simple image property that predicts the class; `strength` and `sentence` summarise the finding."""


class Duplicates(Shape):
    """Files with the same image, each with its split and label. `same_bytes`: the files are identical."""

    paths: list[str]
    splits: list[str] = []
    labels: list[str] = []
    same_bytes: bool = False
    codes: list[str] = []


class FullReport(Shape):
    """The findings of an import, with every file by name. `rejected`: files that should have been images of
    the data set; `ignored`: files that were never meant to be."""

    name: str = ""
    count: int = 0
    problems: list[Fact] = []
    notes: list[Fact] = []
    rejected: list[Rejected] = []
    ignored: list[Rejected] = []
    duplicates: list[Duplicates] = []


class Group(Shape):
    """Samples that share a class and an attribute. Groups are used to measure, never to train."""

    name: str
    n: int
    splits: dict[str, int] = {}


class Dataset(Shape):
    """A data set. `splits` counts the samples of each split; `report` says what was rejected and why."""

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
    """One image of a data set. `id` is its number within the data set, `label` the name of its class."""

    id: int
    split: str
    label: str
    group: str | None = None
    path: str | None = None


class Progress(Shape):
    """The progress of a job. `fraction` (0..1) refers to the whole job."""

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
    """Named hyperparameters. `params` are the job fields that the preset sets; `released` are the fields that
    `as_released` adds.
    """

    name: str
    title: str = ""
    description: str = ""
    data: str | None = None
    params: dict[str, Any] = {}
    released: dict[str, Any] = {}


class Event(Shape):
    """An event of a job. Ids count up by one from 1. Progress events within epochs are deleted some days
    after the job has ended."""

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


class Backbone(Shape):
    """A network that a job may name. `weights` says where its published weights are for the host of the API;
    `image_size` is the side in pixels that they were made for."""

    name: str
    library: str
    weights: str
    image_size: int | None = None


class CurvePoint(Shape):
    """One threshold of a risk-coverage curve, with its bounds and its section of the band."""

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
    """A group or a class at the table's threshold. The bound holds for this row alone."""

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
    """All groups and classes at one threshold. Bounds are compared with `max_risk` if one was requested."""

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
    """Risk over coverage on the calibration split. `statement` says which bounds hold for a threshold chosen
    before looking at the curve, and which for one chosen after."""

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
    """A share on the calibration split compared with the same share in deployment."""

    name: str
    calibration: ShareOf
    deployed: ShareOf
    p_value: float
    p_adjusted: float
    drifted: bool


class Served(Shape):
    """Counts of the decisions on uploaded images."""

    inputs: int
    answered: int
    abstained: dict[str, int] = {}
    coverage: float | None = None


class Drift(Shape):
    """The result of testing whether a model's inputs still look like its calibration split."""

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
    """One move of an alias. `model` is None if the move deleted the alias."""

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
    """Where a model looked in one image. `overlay`, `heatmap` and `mask` are PNG images as `data:` URLs."""

    target: str
    size: tuple[int, int]
    map: list[list[float]]
    overlay: str
    heatmap: str | None = None
    mask: str | None = None
    masked_share: float | None = None


class SaliencyAnswer(Shape):
    """One saliency map per image, in the order in which they were sent."""

    model: str
    method: str
    images: list[SaliencyMap]


class Prediction(Shape):
    """The answer for one image. `label` is None if and only if the model abstains."""

    decision: Literal["answer", "abstain"]
    label: str | None
    abstain_reason: str | None = None
    score: float | None = None
    candidates: list[Candidate] = []
    agreement: dict[str, Any] | None = None
    saliency: SaliencyMap | None = None


class Calibration(Shape):
    """The threshold's results on the calibration split, which neither trained nor selected anything."""

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
    """The basis of the decisions: the policy, its threshold, and the calibration behind it."""

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
    """The size limits for uploads and images, in bytes unless the name says otherwise."""

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
    """A key, without its secret. Once `revoked_at` is set, the service no longer accepts it."""

    id: str
    name: str
    scopes: list[str]
    created_at: datetime | None = None
    revoked_at: datetime | None = None


class OwnKey(Shape):
    """The key that this client sends. `id` and `name` are None for an operator's key, and also if the service
    is `open`: it then requires no key, and `scopes` lists all scopes."""

    id: str | None = None
    name: str | None = None
    scopes: list[str]
    open: bool = False

    def may(self, scope: str) -> bool:
        """Whether the key has this scope; `admin` includes all."""
        return scope in self.scopes or "admin" in self.scopes


class NewKey(Key):
    """A newly created key. `secret` is None in a replayed answer."""

    secret: str | None = None
