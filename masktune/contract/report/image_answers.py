"""What a person said of the images that a report lists, in short."""

from __future__ import annotations

from typing import Literal, Self

from masktune.contract.image_answers import Review
from masktune.contract.report.base import Section


class ReportReview(Section):
    """Of the `answered` images that the report of `job` lists, `lacking` lack the pattern of their class
    according to `by`, a name where it is known, on `at`, in seconds since 1970."""

    job: str
    by: str | None
    at: float
    gate: Literal["open", "closed"]
    answered: int
    lacking: int
    needed: int | None = None

    @classmethod
    def of(cls, review: Review) -> Self:
        return cls(
            job=review.job,
            by=review.created_by_name or review.created_by,
            at=review.updated_at.timestamp(),
            gate=review.gate,
            answered=len(review.answers),
            lacking=review.lacking,
            needed=review.needed,
        )
