"""The typed Python client of the service: HTTP only, blocking or async.

with Client("http://127.0.0.1:8000") as client:
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
    "Answer",
    "AsyncClient",
    "Backbone",
    "Calibration",
    "Candidate",
    "Client",
    "ClientError",
    "CurvePoint",
    "Dataset",
    "DatasetInvalid",
    "Drift",
    "DriftTest",
    "Duplicates",
    "Event",
    "FieldError",
    "FullReport",
    "Group",
    "GroupRow",
    "GroupTable",
    "Health",
    "Image",
    "ImportReport",
    "Job",
    "JobNotSucceeded",
    "Key",
    "Limits",
    "Model",
    "NewKey",
    "NotSent",
    "OwnKey",
    "PredictOptions",
    "Prediction",
    "Preset",
    "ProblemError",
    "Progress",
    "Report",
    "Retry",
    "RiskCoverage",
    "RiskCoverageOptions",
    "SaliencyAnswer",
    "SaliencyMap",
    "SaliencyOptions",
    "Sample",
    "Selection",
    "Served",
    "ShareOf",
    "TooLarge",
    "UnexpectedAnswer",
    "Unreachable",
    "WaitedTooLong",
]

if TYPE_CHECKING:
    from masktune.client.client import DEFAULT_URL, AsyncClient, Client
    from masktune.client.errors import (
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
    from masktune.client.wire import Retry
    from masktune.contract.report import Report
    from masktune.contract.shapes import (
        Alias,
        Answer,
        Backbone,
        Calibration,
        Candidate,
        CurvePoint,
        Dataset,
        Drift,
        DriftTest,
        Duplicates,
        Event,
        FullReport,
        Group,
        GroupRow,
        GroupTable,
        Health,
        ImportReport,
        Job,
        Key,
        Limits,
        Model,
        NewKey,
        OwnKey,
        Prediction,
        Preset,
        Progress,
        RiskCoverage,
        SaliencyAnswer,
        SaliencyMap,
        Sample,
        Selection,
        Served,
        ShareOf,
    )
else:
    _MODULES = (
        "masktune.client.client",
        "masktune.client.errors",
        "masktune.client.models",
        "masktune.client.predict",
        "masktune.contract.report",
        "masktune.contract.shapes",
        "masktune.client.wire",
    )

    def __getattr__(name: str) -> Any:
        """Import what is asked for only then: most modules of this package need none of it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for module in map(import_module, _MODULES):
            globals().update({one: getattr(module, one) for one in __all__ if hasattr(module, one)})
        return globals()[name]
