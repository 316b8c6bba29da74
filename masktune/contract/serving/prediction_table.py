"""The table of a predict job: its rows, and how many have each decision."""

from __future__ import annotations

from pydantic import Field

from masktune.contract.base import AbstainReasonName, Shape
from masktune.contract.models import DriftStatus
from masktune.contract.serving.predictions import Candidate
from masktune.contract.serving.reject_option import DriftTest
from masktune.contract.vocabulary import Decision


class JobDrift(Shape):
    """Whether the images of a predict job are like the model's calibration split: one look at all of them.

    It is no part of the model's `drift`, whose windows are of images in the order in which they came, each
    once: a job may predict chosen images, and the same again.
    """

    status: DriftStatus
    inputs: int = Field(description="Images that are compared: one of each subject, each picture once.")
    level: float = Field(description="Probability that drift is found although nothing changed.")
    tests: list[DriftTest]


class PredictionCounts(Shape):
    """How many rows the table has, and how many have each decision."""

    rows: int = 0
    answered: int = 0
    abstained: int = 0
    coverage: float = Field(
        0.0, description="Share of the readable files; `params.coverage` is what was requested."
    )
    unreadable: int = Field(0, description="Files that the import of the data set left out.")
    labels: dict[str, int] = Field({}, description="How many were answered with each label.")
    abstain_reasons: dict[AbstainReasonName, int] = Field(
        {}, description="How many were not answered for each reason."
    )
    drift: JobDrift | None = Field(
        None, description="Null for a model without a calibration of the job's score."
    )


class PredictionRow(Shape):
    """What the job says of one file. An unreadable one has its path and the reason alone."""

    row: int | None = Field(description="Number of the sample in the data set.")
    path: str = Field(description="Its name in the upload.")
    sha256: str | None = Field(None, description="Digest of the image file.")
    label: str | None = Field(None, description="The class that the data set gives it.")
    predicted: str | None = Field(None, description="Null exactly when `decision` is not `answer`.")
    decision: Decision
    abstain_reason: AbstainReasonName | None = None
    reason: str | None = Field(None, description="Why it could not be read.")
    score: float | None = Field(None, description="0..1; null if the network's output is not finite.")
    candidates: list[Candidate] | None = None
    agreement: bool | None = Field(None, description="Whether the ERM model gives the same label.")
    unlike_training: bool | None = Field(
        None, description="Whether the image is unlike the training images; null if the model cannot tell."
    )
    pattern: str | None = Field(
        None, description="The class whose pattern the image shows; null where no job inferred patterns."
    )
    labels: list[str] | None = Field(None, description="With `set_coverage`: the classes that it may be.")
