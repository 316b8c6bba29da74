"""What supervisor and child say to each other, one JSON object a line.

To the child's stdin: first its `Spec`, then the lease's deadline (`deadline_line`) at each renewal. From its
stdout: messages, told apart by `type`.

    hello           {pid, device, threads}
    stage_started   {stage}
    progress        {fraction, stage, stage_fraction, epoch, epochs, step, steps, images_per_second,
                     eta_seconds, metrics, advanced}; `advanced`: an epoch was checkpointed
    stage_finished  {stage, result}
    log             {message}
    alive           {}; a sign of life from a loop that has nothing else to report
    failed          {error, retry}; `error` is a problem object
    done            {}
"""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypedDict, cast

from masktune.contract.vocabulary import Arm, JobKind, Stage

logger = logging.getLogger(__name__)

# --- from the child -------------------------------------------------------------------------------

MessageType = Literal[
    "hello", "stage_started", "progress", "stage_finished", "log", "alive", "failed", "done"
]


class Message(TypedDict, total=False):
    """Any of the messages above; `type` is always present."""

    type: MessageType
    stage: str
    result: dict[str, Any]
    message: str
    error: dict[str, Any]
    retry: bool
    advanced: bool
    metrics: dict[str, float]


def parse(line: bytes) -> Message | None:
    """The message on this line; None, with a warning in the log, if the line is not a message."""
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    if not isinstance(value, dict) or "type" not in value:
        logger.warning("a child wrote a line that is no message: %.200r", line)
        return None
    return cast(Message, value)


# --- to the child ---------------------------------------------------------------------------------


def deadline_line(until: float) -> bytes:
    """The lease's deadline by CLOCK_MONOTONIC, which all processes of a host share."""
    return json.dumps({"until": until}).encode()


def read_deadline(line: bytes) -> float:
    return float(json.loads(line)["until"])


@dataclass(frozen=True)
class DatasetSpec:
    """A data set. `source` and `options` are for its import, the other fields for all other jobs.

    `shortcuts` is the finding of the import (`models.shortcuts.ShortcutCheck` as JSON).
    """

    id: str
    name: str
    format: str
    source: dict[str, Any]
    options: dict[str, Any]
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
    dataset_id: str | None
    classes: tuple[str, ...]
    backbone: str
    calibration: dict[str, Any] | None


@dataclass(frozen=True)
class MaskSetSpec:
    """The mask set that a mask job made, and the id of the model whose saliency maps it is made of."""

    job_id: str
    artifact: str
    model_id: str


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
    mask_set: MaskSetSpec | None = None
    models: dict[str, ModelSpec] = field(default_factory=dict)

    def to_line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        raw = json.loads(line)
        raw |= {
            "kind": JobKind(raw["kind"]),
            "stages": tuple(Stage(s) for s in raw["stages"]),
            "dataset": raw["dataset"]
            and DatasetSpec(**raw["dataset"] | {"classes": tuple(raw["dataset"]["classes"])}),
            "mask_set": raw["mask_set"] and MaskSetSpec(**raw["mask_set"]),
            "models": {
                id: ModelSpec(**m | {"arm": Arm(m["arm"]), "classes": tuple(m["classes"])})
                for id, m in raw["models"].items()
            },
        }
        return cls(**raw)
