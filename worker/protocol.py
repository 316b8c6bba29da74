"""What supervisor and child say to each other, one JSON object a line.

To the child's stdin: first its `Spec`, then the lease's deadline (`deadline_line`) at each renewal. From its
stdout: a `Message` each.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, TypeAdapter

from masktune.contract.vocabulary import Arm, JobKind, Stage

logger = logging.getLogger(__name__)

# --- from the child -------------------------------------------------------------------------------


class StageStarted(BaseModel):
    """A stage begins."""

    type: Literal["stage_started"] = "stage_started"
    stage: Stage


class ProgressReport(BaseModel):
    """How far the job is (`fraction`) and its stage (`stage_fraction`, `epoch` …); `metrics` of an epoch that
    has ended. `advanced`: an epoch was checkpointed.
    """

    type: Literal["progress"] = "progress"
    fraction: float
    stage: Stage
    stage_fraction: float
    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_second: float | None
    eta_seconds: float | None
    metrics: dict[str, float | None]
    advanced: bool = False


class StageFinished(BaseModel):
    """A stage has ended with this result, plain JSON values."""

    type: Literal["stage_finished"] = "stage_finished"
    stage: Stage
    output: dict[str, Any]


class LogLine(BaseModel):
    """A line for the job's log."""

    type: Literal["log"] = "log"
    message: str


class Alive(BaseModel):
    """A sign of life from a loop that has nothing else to report."""

    type: Literal["alive"] = "alive"


class Failed(BaseModel):
    """The job cannot go on; `error` is a problem object. `retry`: another attempt may succeed."""

    type: Literal["failed"] = "failed"
    error: dict[str, Any]
    retry: bool


class Done(BaseModel):
    """All stages have ended."""

    type: Literal["done"] = "done"


Record = StageStarted | ProgressReport | StageFinished | LogLine
"""What the supervisor writes to the database."""
Message = Record | Alive | Failed | Done

_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def parse(line: bytes) -> Message | None:
    """The message on this line; None, with a warning in the log, if the line is not a message."""
    try:
        return _MESSAGES.validate_python(json.loads(line))
    except ValueError:
        logger.warning("a child wrote a line that is no message: %.200r", line)
        return None


# --- to the child ---------------------------------------------------------------------------------


def deadline_line(until: float) -> bytes:
    """The lease's deadline by CLOCK_MONOTONIC, which all processes of a host share."""
    return json.dumps({"until": until}).encode()


def read_deadline(line: bytes) -> float:
    return float(json.loads(line)["until"])


@dataclass(frozen=True)
class DatasetSpec:
    """A data set. `source` is for its import, the other fields are for all other jobs.

    `shortcuts` is the finding of the import (`models.shortcuts.ShortcutCheck` as JSON).
    """

    id: str
    name: str
    source: dict[str, Any]
    artifact: str | None
    classes: tuple[str, ...]
    shortcuts: dict[str, Any] | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A model of the registry."""

    id: str
    arm: Arm
    artifact: str
    erm_id: str | None
    job_id: str | None
    classes: tuple[str, ...]
    backbone: str
    calibration: dict[str, Any] | None


@dataclass(frozen=True)
class JudgedJobSpec:
    """A job whose models another job judges: the key of its report, its models by arm, its data set, and the
    keys of all data sets that trained these models."""

    id: str
    report: str
    models: dict[Arm, str]
    dataset: str
    trained_on: tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """A job as its child sees it. `stages` are still to run; `done` holds the results of the finished ones.

    It holds all that the stages need from the database: importing SQLAlchemy would take half a second.
    `model` is the id of the model that the job was given, either directly or through its mask set.
    """

    job_id: str
    kind: JobKind
    attempt: int
    stages: tuple[Stage, ...]
    done: dict[str, Any]
    params: dict[str, Any]
    inputs: dict[str, Any]
    slot: int
    request_id: str | None = None
    """Id of the request that started the job, for the log."""
    model: str | None = None
    dataset: DatasetSpec | None = None
    mask_set: str | None = None
    """Key of the mask set that the job was given."""
    models: dict[str, ModelSpec] = field(default_factory=dict)
    judged: JudgedJobSpec | None = None

    def to_line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        return TypeAdapter(cls).validate_python(json.loads(line))
