"""Review queues: images that a model was sent, for people to say what they show. Requests and responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from masktune.contract.base import ClassName, Name, Open, Shape, Strict, Time
from masktune.contract.models import ANSWERS_TO_NOTICE
from masktune.contract.serving.predictions import Prediction
from masktune.contract.vocabulary import ReviewKind, ReviewOutcome

ReviewState = Literal["waiting", "answered", "deleted"]


class _Policy(BaseModel):
    enabled: bool = Field(description="Whether images are put into the queue. Those in it stay either way.")
    audit_share: float = Field(
        0.01,
        gt=0,
        le=1,
        description="Probability with which an image joins the audit sample, of those answered under exactly "
        "`max_risk` and `risk_confidence` by the calibration's own score.",
    )
    max_risk: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="The promise that the audit sample monitors: at most this share of the answers is wrong. "
        "Null: no audit sample is drawn.",
    )
    risk_confidence: float = Field(
        0.99,
        ge=0.5,
        lt=1,
        description="As in requests; false alarms of the monitor have at most the probability that is left.",
    )
    keep_days: float = Field(90, gt=0, le=36_500, description="Days after which an image is deleted.")
    keep_bytes: int = Field(
        2**30,
        ge=0,
        lt=2**63,
        description="Most bytes of images; beyond it, answered ones are deleted first, those of the audit "
        "sample that wait for an answer last, and of each the oldest first.",
    )


class NewReviewPolicy(Strict, _Policy):
    """Which images of a model are put into its review queue, and for how long."""


class ReviewPolicy(Shape, _Policy):
    """Which images of a model are put into its review queue, and for how long."""

    answers_to_notice: int | None = Field(
        None, description=ANSWERS_TO_NOTICE.format(", if it had from the first answer on")
    )


class ReviewAnswer(Strict):
    """What a person says of an image."""

    outcome: Annotated[ReviewOutcome, Field(strict=False)]  # a JSON string, not yet the enum
    label: ClassName | None = Field(None, description="One of the model's classes, exactly for `label`.")


class ReviewedPrediction(Prediction):
    """What the model said of the image, without its map."""

    threshold: float | None = Field(None, description="Images with at least this score were answered.")


class ReviewItem(Shape):
    """An image of a review queue: what the model said of it, and what a person said.

    The `prediction` of an image of the audit sample is null until the image is answered or deleted.
    """

    id: str
    model: str
    kind: Annotated[ReviewKind | str, Open(ReviewKind)]
    state: ReviewState = Field(description="`deleted`: the image was, before anybody answered.")
    sha256: str = Field(description="Of the image, as it was sent.")
    subject: str | None = Field(None, description="As the request named it; null once the image is deleted.")
    bytes: int | None = Field(None, description="Of the image; null once it is deleted.")
    prediction: ReviewedPrediction | None = None
    outcome: Annotated[ReviewOutcome | str, Open(ReviewOutcome)] | None = Field(
        None, description="Null until somebody answers."
    )
    label: str | None = Field(None, description="The class that the person named.")
    answered_by: str | None = Field(
        None,
        description="Id of the key of who answered, or `user:` and the name of the person; null for a key of "
        "the operator, or without keys.",
    )
    answered_by_name: str | None = Field(None, description="Name of the key or the person.")
    answered_at: Time | None = None
    created_at: Time = Field(description="When the model was sent the image.")


class ReviewDatasetRequest(Strict):
    """The data set to make."""

    name: Name = Field(description="What to call the data set.")
