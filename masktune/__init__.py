"""The typed Python client of the service: HTTP only, blocking or async.

with Client() as client:
    dataset = client.datasets.upload("birds.zip")
    client.datasets.wait(dataset.id)
    job = client.jobs.start("masktune", dataset=dataset.id)
    for seen in client.jobs.watch(job.id):
        print(seen.stage, seen.progress.fraction)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "DEFAULT_URL",
    "Alias",
    "AliasMove",
    "AliasWithHistory",
    "AmbiguousName",
    "Answer",
    "AsyncClient",
    "AuditEntry",
    "Backbone",
    "Calibration",
    "CalibrationRef",
    "Candidate",
    "ClassPromise",
    "Client",
    "ClientError",
    "ColumnReading",
    "ComparedModel",
    "Comparison",
    "CurvePoint",
    "Dataset",
    "DatasetInvalid",
    "Delivery",
    "Dependents",
    "Drift",
    "DriftLook",
    "DriftState",
    "DriftTest",
    "Duplicates",
    "EvaluateJob",
    "Evaluation",
    "Event",
    "FieldError",
    "FullReport",
    "Group",
    "GroupRow",
    "GroupTable",
    "Image",
    "ImageAnswer",
    "ImageAnswers",
    "ImageSaliency",
    "ImportJob",
    "ImportReport",
    "InferredPattern",
    "Job",
    "JobDrift",
    "JobEstimate",
    "JobNotSucceeded",
    "JobPlan",
    "Key",
    "Limits",
    "LogEvent",
    "MetadataColumn",
    "MetricsEvent",
    "MixedCurve",
    "Model",
    "NewKey",
    "NewWebhook",
    "NotSent",
    "OwnKey",
    "PatternJudgeRef",
    "PredictJob",
    "PredictOptions",
    "Prediction",
    "PredictionCounts",
    "PredictionRow",
    "PredictionSets",
    "Preset",
    "Problem",
    "ProblemError",
    "Progress",
    "ProgressEvent",
    "Promise",
    "Ready",
    "Report",
    "RetrainHeadJob",
    "Retry",
    "ReviewItem",
    "ReviewPolicy",
    "RiskCoverage",
    "RiskCoverageOptions",
    "SaliencyAnswer",
    "SaliencyMap",
    "SaliencyOptions",
    "Sample",
    "SampleFilters",
    "Selection",
    "Served",
    "ShareOf",
    "SplitMetrics",
    "StageEvent",
    "StateEvent",
    "Storage",
    "TooLarge",
    "TrainingJob",
    "UnexpectedAnswer",
    "UnlikeTraining",
    "Unreachable",
    "WaitedTooLong",
    "Webhook",
    "WebhookChanges",
]

if TYPE_CHECKING:
    from masktune.client.client import AsyncClient, Client
    from masktune.client.datasets import SampleFilters
    from masktune.client.errors import (
        AmbiguousName,
        ClientError,
        DatasetInvalid,
        FieldError,
        JobNotSucceeded,
        NotSent,
        ProblemError,
        TooLarge,
        UnexpectedAnswer,
        Unreachable,
        WaitedTooLong,
    )
    from masktune.client.models import RiskCoverageOptions
    from masktune.client.predict import Image, PredictOptions, SaliencyOptions
    from masktune.client.webhooks import WebhookChanges
    from masktune.client.wire import Retry
    from masktune.contract.datasets import (
        ColumnReading,
        Dataset,
        Duplicates,
        FullReport,
        Group,
        ImportReport,
        MetadataColumn,
    )
    from masktune.contract.deletion import Dependents
    from masktune.contract.image_answers import ImageAnswer, ImageAnswers
    from masktune.contract.jobs import (
        ComparedModel,
        Comparison,
        EvaluateJob,
        Event,
        ImportJob,
        Job,
        JobEstimate,
        JobPlan,
        LogEvent,
        MetricsEvent,
        PredictJob,
        Preset,
        Progress,
        ProgressEvent,
        RetrainHeadJob,
        StageEvent,
        StateEvent,
        TrainingJob,
    )
    from masktune.contract.keys import AuditEntry, Key, NewKey, OwnKey
    from masktune.contract.models import (
        Alias,
        AliasMove,
        AliasWithHistory,
        Backbone,
        CalibrationRef,
        Evaluation,
        Model,
        PatternJudgeRef,
        Promise,
        SplitMetrics,
    )
    from masktune.contract.operations import Limits, Ready, Storage
    from masktune.contract.problems import Problem
    from masktune.contract.report import Report
    from masktune.contract.samples import InferredPattern, Sample
    from masktune.contract.serving.prediction_table import JobDrift, PredictionCounts, PredictionRow
    from masktune.contract.serving.predictions import (
        Answer,
        Calibration,
        Candidate,
        ClassPromise,
        ImageSaliency,
        Prediction,
        PredictionSets,
        SaliencyAnswer,
        SaliencyMap,
        Selection,
        UnlikeTraining,
    )
    from masktune.contract.serving.reject_option import (
        CurvePoint,
        Drift,
        DriftLook,
        DriftTest,
        GroupRow,
        GroupTable,
        MixedCurve,
        RiskCoverage,
        Served,
        ShareOf,
    )
    from masktune.contract.serving.review_queue import ReviewItem, ReviewPolicy
    from masktune.contract.webhooks import Delivery, NewWebhook, Webhook
    from masktune.environment import DEFAULT_URL
else:
    _MODULES = (
        "masktune.client.client",
        "masktune.client.datasets",
        "masktune.environment",
        "masktune.client.errors",
        "masktune.client.models",
        "masktune.client.predict",
        "masktune.contract.report",
        "masktune.contract.datasets",
        "masktune.contract.deletion",
        "masktune.contract.jobs",
        "masktune.contract.keys",
        "masktune.contract.models",
        "masktune.contract.operations",
        "masktune.contract.serving.prediction_table",
        "masktune.contract.serving.predictions",
        "masktune.contract.problems",
        "masktune.contract.serving.reject_option",
        "masktune.contract.serving.review_queue",
        "masktune.contract.image_answers",
        "masktune.contract.webhooks",
        "masktune.contract.samples",
        "masktune.client.webhooks",
        "masktune.client.wire",
    )

    def __getattr__(name: str) -> Any:
        """Import what is asked for only then: most modules of this package need none of it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for module in map(import_module, _MODULES):
            globals().update({one: getattr(module, one) for one in __all__ if hasattr(module, one)})
        return globals()[name]
