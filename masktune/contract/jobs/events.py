"""The events of a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ModelWrapValidatorHandler, model_validator

from masktune.contract.base import EventTypeName, Page, Shape, StageName, Time
from masktune.contract.jobs.job import JobMetrics, Progress
from masktune.contract.problems import Problem
from masktune.contract.vocabulary import EventType, JobState


class EventData(Shape):
    """What happened; each type of event has its own."""


class StateData(EventData):
    """The job entered a state."""

    state: JobState
    attempt: int = 0
    reason: str | None = None
    error: Problem | None = None


class StageData(EventData):
    """A stage began or ended."""

    stage: StageName
    status: Literal["started", "finished"]
    seconds: float | None = None


class EpochMetrics(Shape):
    """Figures of an epoch that has ended."""

    loss: float | None = None
    accuracy: float | None = None
    learning_rate: float | None = None
    val_accuracy: float | None = None


class ProgressData(EventData, Progress):
    """How far the job is; `metrics` when an epoch has ended."""

    stage_fraction: float | None = None
    metrics: EpochMetrics = Field(default_factory=EpochMetrics)


class LogData(EventData):
    """A line of the log."""

    message: str


class Event(Shape):
    """Something that happened to a job. `id` counts up by one from 1. Progress within epochs is deleted some
    days after the job's end (`MASKTUNE_PROGRESS_DAYS`)."""

    by_type: ClassVar[dict[str, type[Event]]] = {}

    id: int
    type: EventTypeName
    at: Time
    data: EventData | JobMetrics = Field(default_factory=EventData)

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_type(cls, source: Any, handler: ModelWrapValidatorHandler[Event]) -> Event:
        """Read an event as the class of its type."""
        own = (
            cls.by_type.get(str(source.get("type"))) if cls is Event and isinstance(source, Mapping) else None
        )
        return handler(source) if own is None else own.model_validate(source)


class StateEvent(Event):
    """The job entered a state."""

    type: Literal[EventType.STATE]
    data: StateData


class StageEvent(Event):
    """A stage began or ended."""

    type: Literal[EventType.STAGE]
    data: StageData


class ProgressEvent(Event):
    """The job made progress."""

    type: Literal[EventType.PROGRESS]
    data: ProgressData


class MetricsEvent(Event):
    """Models were measured: figures by arm and split."""

    type: Literal[EventType.METRICS]
    data: JobMetrics


class LogEvent(Event):
    """A line of the log."""

    type: Literal[EventType.LOG]
    data: LogData


Event.by_type |= {
    EventType.STATE: StateEvent,
    EventType.STAGE: StageEvent,
    EventType.PROGRESS: ProgressEvent,
    EventType.METRICS: MetricsEvent,
    EventType.LOG: LogEvent,
}
AnyEvent = Annotated[
    StateEvent | StageEvent | ProgressEvent | MetricsEvent | LogEvent, Field(discriminator="type")
]


class EventPage(Page[AnyEvent]):
    """A page of events."""
