"""What the reports say of the models of a job, and which of them counts now."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from masktune.contract.base import Shape, Time
from masktune.contract.models import Evaluation, GroupsSource, evidence_rank
from masktune.contract.report.accuracy import JobVerdict
from masktune.contract.report.recommendation import NextStep


class Judgement(Shape):
    """What a report says of the models of a job, and the images that it rests on."""

    job: str = Field(
        description="The job whose report says so: the job itself, or an `evaluate` job that judged its "
        "models."
    )
    verdict: JobVerdict | None = Field(description="Null if the report compares nothing.")
    evaluation: Evaluation | None = Field(
        description="Of the model that the verdict is about. Null without one, and for a job of "
        "version 0.1.0."
    )
    next: list[NextStep] = Field(
        [],
        description="What to do, the most important first. Empty for a job of version 0.1.0: its report says "
        "it.",
    )
    ended_at: Time

    @property
    def rank(self) -> tuple[int, int, float]:
        """As `evidence_rank`. Version 0.1.0 kept no evaluation: only whose groups decided is known."""
        one, verdict = self.evaluation, self.verdict
        if one is not None:
            return evidence_rank(one.groups, one.smallest_group, one.created_at)
        groups: GroupsSource | None = "inferred" if verdict and verdict.inferred else "labelled"
        if verdict is None or verdict.verdict == "not_testable":
            groups = None
        return evidence_rank(groups, None, self.ended_at)


def current(judgements: Iterable[Judgement]) -> Judgement | None:
    """Of those with a verdict, the one that rests on the most; None without any."""
    return min(
        (one for one in judgements if one.verdict is not None),
        key=lambda one: one.rank,
        default=None,
    )
