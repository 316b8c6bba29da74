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
    ProblemError,
    UnexpectedAnswer,
    Unreachable,
    WaitedTooLong,
)
from client.predict import Image, PredictOptions, SaliencyOptions
from client.shapes import (
    Alias,
    Answer,
    Calibration,
    Candidate,
    Dataset,
    Event,
    Group,
    Health,
    ImportReport,
    Job,
    Model,
    Prediction,
    Preset,
    Progress,
    SaliencyAnswer,
    SaliencyMap,
    Sample,
    Selection,
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
    "Dataset",
    "DatasetInvalid",
    "Event",
    "FieldError",
    "Group",
    "Health",
    "Image",
    "ImportReport",
    "Job",
    "JobNotSucceeded",
    "Model",
    "PredictOptions",
    "Prediction",
    "Preset",
    "ProblemError",
    "Progress",
    "Retry",
    "SaliencyAnswer",
    "SaliencyMap",
    "SaliencyOptions",
    "Sample",
    "Selection",
    "UnexpectedAnswer",
    "Unreachable",
    "WaitedTooLong",
]
