"""The typed Python client of the service: HTTP only, blocking or async.

with Client("http://127.0.0.1:8000") as client:
    dataset = client.datasets.upload("birds.zip")
    client.datasets.wait(dataset.id)
    job = client.jobs.start("masktune", dataset=dataset.id)
    for seen in client.jobs.watch(job.id):
        print(seen.stage, seen.progress.fraction)
"""

from client.client import DEFAULT_URL, AsyncClient, Client
from client.errors import (
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
from client.models import RiskCoverageOptions
from client.predict import Image, PredictOptions, SaliencyOptions
from client.shapes import (
    Alias,
    Answer,
    Calibration,
    Candidate,
    CurvePoint,
    Dataset,
    Drift,
    DriftTest,
    Event,
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
from client.wire import Retry

__all__ = [
    "DEFAULT_URL",
    "Alias",
    "Answer",
    "AsyncClient",
    "Calibration",
    "Candidate",
    "Client",
    "ClientError",
    "CurvePoint",
    "Dataset",
    "DatasetInvalid",
    "Drift",
    "DriftTest",
    "Event",
    "FieldError",
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
    "PredictOptions",
    "Prediction",
    "Preset",
    "ProblemError",
    "Progress",
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
