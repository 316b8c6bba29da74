"""What supervisor and child say to each other, one JSON object a line.

To the child's stdin: first its `Spec`, then the lease's deadline (`deadline_line`) at each renewal and the
shards that it is to compute (`shards_line`). From its stdout: a `Message` each.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar, get_args

from pydantic import ConfigDict, Field, GetPydanticSchema, TypeAdapter, ValidationInfo
from pydantic_core import core_schema
from pydantic_core.core_schema import SerializerFunction, WithInfoValidatorFunction

from masktune.contract.image_answers import ImageAnswers
from masktune.contract.job_params import AnyParams, params_of, params_to_json
from masktune.contract.vocabulary import Arm, JobKind, Stage
from worker.results import AnyResult, Json, ModelSpec, StageResult, result_from_json, result_to_json

# --- exit codes of the child, beside 0 and those of a crash ----------------------------------------

STOPPED = 75
"""Exit code of a child that was asked to stop (EX_TEMPFAIL of sysexits.h)."""
ABANDONED = 76
"""Exit code of a child that ended itself because its supervisor was gone or its lease had expired."""


SPARE = "--spare"
"""Argument of a child that is started before there is a job: it loads what jobs need and waits for a spec."""

logger = logging.getLogger(__name__)

# --- from the child -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StageStarted:
    """A stage begins."""

    type: Literal["stage_started"] = "stage_started"
    stage: Stage


@dataclass(frozen=True, kw_only=True)
class ProgressReport:
    """How far the job is (`fraction`) and its stage (`stage_fraction`, `epoch` …); `metrics` of an epoch that
    has ended. `advanced`: work was checkpointed.
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


@dataclass(frozen=True, kw_only=True)
class StageFinished:
    """A stage has ended with this result; `sizes` are the bytes of the artifacts that it has put, by key."""

    type: Literal["stage_finished"] = "stage_finished"
    result: AnyResult
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line for the job's log."""

    type: Literal["log"] = "log"
    message: str


@dataclass(frozen=True, kw_only=True)
class Alive:
    """A sign of life from a loop that has nothing else to report."""

    type: Literal["alive"] = "alive"


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The job cannot go on; `error` is a problem object.
    `retry`: another attempt may succeed."""

    type: Literal["failed"] = "failed"
    error: Json
    retry: bool


@dataclass(frozen=True, kw_only=True)
class Done:
    """All stages have ended."""

    type: Literal["done"] = "done"


@dataclass(frozen=True, kw_only=True)
class PassSpec:
    """A pass of a job's stage over images; its name and `arguments` rebuild it (`worker.child.passes`).

    Its shards are the same, byte for byte, on every host of this `kind` (`worker.child.runner.kind_of`) that
    computes them with as many `threads`. `key` is the parent of theirs, `title` what they are, for people.
    """

    stage: Stage
    name: str
    arguments: dict[str, str | None]
    key: str
    title: str
    kind: str
    threads: int


@dataclass(frozen=True, kw_only=True)
class PassBegan:
    """A pass over images begins; the shards of these `numbers` are to be shared among all workers."""

    type: Literal["pass_began"] = "pass_began"
    opened: PassSpec
    numbers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ShardsWanted:
    """The job's child asks for up to `count` shards of its pass with this `key`."""

    type: Literal["shards_wanted"] = "shards_wanted"
    key: str
    count: int


@dataclass(frozen=True, kw_only=True)
class PassOpened:
    """A child that helps another worker's job can compute shards; `kind` is that of its host."""

    type: Literal["pass_opened"] = "pass_opened"
    kind: str


@dataclass(frozen=True, kw_only=True)
class ShardFinished:
    """It is done with a shard; `double`: another process had put the same meanwhile."""

    type: Literal["shard_finished"] = "shard_finished"
    number: int
    double: bool


Record = StageStarted | ProgressReport | StageFinished | LogLine | PassBegan | ShardsWanted
"""What the supervisor writes to the database, in this order."""
Message = Record | Alive | Failed | Done | PassOpened | ShardFinished

_MESSAGES: TypeAdapter[Message] = TypeAdapter(
    Annotated[Message, Field(discriminator="type")], config=ConfigDict(defer_build=True)
)
_TYPES = {kind.type for kind in get_args(Message)}


def parse(line: bytes) -> Message | None:
    """The message on this line; None, with a warning in the log, if the line is not a message.

    Raises ValidationError of pydantic for a message with other fields than its type has: a bug of ours, and
    the job must not go on without what it said.
    """
    try:
        source = json.loads(line)
    except ValueError:
        source = None
    if not isinstance(source, dict) or str(source.get("type")) not in _TYPES:
        logger.warning("a child wrote a line that is no message: %.200r", line)
        return None
    return _MESSAGES.validate_python(source)


# --- to the child ---------------------------------------------------------------------------------


def deadline_line(until: float) -> bytes:
    """The lease's deadline by CLOCK_MONOTONIC, which all processes of a host share."""
    return json.dumps({"until": until}).encode()


def shards_line(key: str, numbers: Sequence[int], opened: Json | None = None) -> bytes:
    """Shards to compute, of the pass with this key; a helper must have `opened` it."""
    return json.dumps({"key": key, "numbers": numbers, "opened": opened}).encode()


@dataclass(frozen=True)
class DatasetSpec:
    """A data set.
    `source` is for its import, the other fields are for all other jobs.

    `shortcuts` is the finding of the import (`models.shortcuts.ShortcutCheck` as JSON).
    """

    id: str
    name: str
    source: dict[str, str]
    artifact: str | None
    classes: tuple[str, ...]
    shortcuts: Json | None = None


@dataclass(frozen=True)
class JudgedJobSpec:
    """A job whose models another job judges: the key of its report, its models by arm, its data set, and the
    keys of all data sets that trained these models. `look`: by `number_look`; None for a job of 0.1.0."""

    id: str
    report: str
    models: dict[Arm, str]
    dataset: str
    trained_on: tuple[str, ...]
    look: int | None = None


Result = TypeVar("Result", bound=StageResult)


def _read_params(source: Json, info: ValidationInfo[None]) -> AnyParams:
    return params_of(info.data["kind"], source)


def _read_done(source: dict[str, Json], _: ValidationInfo[None]) -> dict[Stage, AnyResult]:
    return {Stage(stage): result_from_json(one) for stage, one in source.items()}


def _done_to_json(done: dict[Stage, AnyResult]) -> dict[str, Json]:
    return {stage.value: result_to_json(one) for stage, one in done.items()}


def _as_json(read: WithInfoValidatorFunction, write: SerializerFunction) -> GetPydanticSchema:
    """A field that these functions read and write: the schema of all its types takes 10 ms at each start."""
    to_json = core_schema.plain_serializer_function_ser_schema(write)
    schema = core_schema.with_info_plain_validator_function(read, serialization=to_json)
    return GetPydanticSchema(lambda *_: schema)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A job as its child sees it.
    `stages` are still to run; `done` holds the results of the finished ones.

    It holds all that the stages need from the database: importing SQLAlchemy would take half a second.
    `model` is the id of the model that the job was given, either directly or through its mask set.
    """

    job_id: str
    kind: JobKind
    attempt: int
    stages: tuple[Stage, ...]
    done: Annotated[dict[Stage, AnyResult], _as_json(_read_done, _done_to_json)] = field(default_factory=dict)
    params: Annotated[AnyParams, _as_json(_read_params, params_to_json)]
    slot: int = 0
    request_id: str | None = None
    """Id of the request that started the job, for the log."""
    model_ids: dict[Arm, str] = field(default_factory=dict)
    """Ids of the models that the job makes."""
    resumed: int = 0
    """How often the job was resumed: its calibrations then have new ids."""
    image_answers: ImageAnswers | None = None
    """What a person had said of images of the data set when the job was started."""
    model: str | None = None
    dataset: DatasetSpec | None = None
    mask_set: str | None = None
    """Key of the mask set that the job was given."""
    models: dict[str, ModelSpec] = field(default_factory=dict)
    judged_job: JudgedJobSpec | None = None
    shard_threads: int | None = None
    """Those of a child that computes shards in place of the stages."""

    @property
    def begins(self) -> bool:
        """Whether no attempt at the job has been made before."""
        return self.attempt == 1 and not self.resumed

    def stage_result(self, kind: type[Result]) -> Result | None:
        """The first result of this type among those of the finished stages."""
        return next((one for one in self.done.values() if isinstance(one, kind)), None)

    def to_line(self) -> bytes:
        return _SPEC.dump_json(self)

    @staticmethod
    def from_line(line: bytes) -> Spec:
        return _SPEC.validate_json(line)


_SPEC: TypeAdapter[Spec] = TypeAdapter(Spec)
