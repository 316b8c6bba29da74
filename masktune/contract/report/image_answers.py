"""What a person said of the images that a report lists, in short."""

from __future__ import annotations

from typing import Literal, Self

from masktune.contract.image_answers import ImageAnswers
from masktune.contract.report.base import Section


class ReportImageAnswers(Section):
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
    def of(cls, answers: ImageAnswers) -> Self:
        return cls(
            job=answers.job,
            by=answers.created_by_name or answers.created_by,
            at=answers.updated_at.timestamp(),
            gate=answers.gate,
            answered=len(answers.answers),
            lacking=answers.lacking,
            needed=answers.needed,
        )
