"""Jobs, what they would cost, their events and the presets: what the API answers."""

from masktune.contract.jobs.comparison import ComparedModel, Comparison, side_by_side
from masktune.contract.jobs.events import (
    Event,
    EventPage,
    LogEvent,
    MetricsEvent,
    ProgressData,
    ProgressEvent,
    StageEvent,
    StateData,
    StateEvent,
)
from masktune.contract.jobs.job import (
    AnyJob,
    EvaluateJob,
    ImportJob,
    Job,
    JobInputs,
    JobPage,
    MitigateJob,
    PredictJob,
    Progress,
    RetrainHeadJob,
    TrainingJob,
)
from masktune.contract.jobs.judgements import Judgement
from masktune.contract.jobs.plans import JobEstimate, JobPlan, Preset, Presets, StageEstimate
from masktune.contract.report.accuracy import JobVerdict

__all__ = [
    "AnyJob",
    "ComparedModel",
    "Comparison",
    "EvaluateJob",
    "Event",
    "EventPage",
    "ImportJob",
    "Job",
    "JobEstimate",
    "JobInputs",
    "JobPage",
    "JobPlan",
    "JobVerdict",
    "Judgement",
    "LogEvent",
    "MetricsEvent",
    "MitigateJob",
    "PredictJob",
    "Preset",
    "Presets",
    "Progress",
    "ProgressData",
    "ProgressEvent",
    "RetrainHeadJob",
    "StageEstimate",
    "StageEvent",
    "StateData",
    "StateEvent",
    "TrainingJob",
    "side_by_side",
]
