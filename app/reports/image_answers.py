"""Keeps what a person says of the images that a report lists."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from sqlalchemy.orm import Session

from app.auth.keyring import Caller
from app.http.caller_ids import public_id
from app.http.responses import require_match
from app.jobs.image_answers import describe
from core.errors import Conflict, FieldError, InvalidInput, NotFound, PreconditionFailed
from core.queries import datasets, image_answers, jobs
from core.tables import ImageAnswersRow, JobRow
from masktune.contract.image_answers import ImageAnswer, ImageAnswers, NewImageAnswers
from masktune.contract.report import Report
from masktune.contract.report.groups import EarlyStageDetails
from masktune.contract.report.image_answers import ReportImageAnswers
from masktune.contract.report.inferred import GuessPrecision, InferredSplit
from masktune.contract.vocabulary import Arm
from models.statistics import clopper_pearson

LEAST_PRECISION = 0.5
"""Of a guess that a verdict may rest on."""


def show(session: Session, job: JobRow) -> ImageAnswers:
    """What a person said of the images that the job's report lists, or `NotFound`."""
    row = session.get(ImageAnswersRow, job.id)
    if row is None:
        raise NotFound(f"nobody has said anything of the images of job {job.id} yet")
    return describe(row)


def presented(session: Session, report: Report) -> Report:
    """The report with what a person said since."""
    row = session.get(ImageAnswersRow, report.job)
    if row is None:
        return report
    summary, inferred = describe(row), report.inferred_groups
    if inferred is not None:
        precision = guess_precision(report, summary.answers)
        inferred = inferred.model_copy(update={"precision": precision})
    section = ReportImageAnswers.of(summary)
    return report.model_copy(update={"image_answers": section, "inferred_groups": inferred})


def listed_samples(report: Report) -> list[int]:
    """The samples that the report asks to look at, or `Conflict`."""
    samples = report.recommendation.samples_to_review if report.recommendation else []
    if not samples:
        raise Conflict(
            f"the report of job {report.job} lists no images to look at, so there is nothing to say of them; "
            "the reports with a step review_images do"
        )
    return samples


def check(new: NewImageAnswers, report: Report) -> dict[int, bool | None]:
    """The answers by sample, as in `ImageAnswersRow`.
    Raises `InvalidInput` for samples that the report does not list, or that are answered twice."""
    listed = frozenset(listed_samples(report))
    doubted = report.recommendation.doubted_samples if report.recommendation else []
    of_samples: list[tuple[str, int, bool | None]] = [
        *(
            (f"/answers/{place}/sample", one.sample, one.lacks_pattern)
            for place, one in enumerate(new.answers)
        ),
        *((f"/label_right/{place}", sample, None) for place, sample in enumerate(new.label_right)),
    ]
    answers: dict[int, bool | None] = {}
    faults = []
    for pointer, sample, lacks in of_samples:
        if sample not in (doubted if lacks is None else listed):
            fault = f"sample {sample} is none of those that the report lists; leave it out"
            faults.append(FieldError(pointer, "not-listed", fault))
        elif sample in answers:
            faults.append(FieldError(pointer, "duplicate", f"sample {sample} is answered twice"))
        answers[sample] = lacks
    if faults:
        raise InvalidInput(faults[0].detail, errors=tuple(faults))
    return answers


def put(
    session: Session,
    report: Report,
    answers: dict[int, bool | None],
    caller: Caller,
    *,
    if_match: str | None,
) -> tuple[ImageAnswers, bool]:
    """Keep the answers instead of earlier ones; whether there were any.

    Raises `PreconditionFailed` if these no longer have the ETag, `NotFound` if the data set was deleted.
    """
    job_id = report.job
    job = jobs.get(session, job_id, lock=True)
    datasets.keep(session, str(job.dataset_id))
    before = session.get(ImageAnswersRow, job_id)
    changed = f"the answers about images of job {job_id} have changed; read them again and retry"
    if before is not None:
        require_match(if_match, partial(describe, before), changed)
    elif if_match is not None:
        raise PreconditionFailed(changed)
    by = public_id(caller.id)
    row = image_answers.put(session, job, answers, needed=needed(report, answers), by=by, by_name=caller.name)
    return describe(row), before is not None


def guess_precision(report: Report, answers: Collection[ImageAnswer]) -> GuessPrecision | None:
    """How many of the images that seem to lack the pattern do lack it, by what a person said of some.

    Only of those that were drawn at random: the surest ones would flatter. None if there are none, or if the
    figures do not rest on inferred groups.
    """
    inferred, (drawn, listed) = report.inferred_groups, _drawn(report)
    lack = [one.lacks_pattern for one in answers if one.sample in drawn]
    if inferred is None or not inferred.decide or not lack:
        return None
    low = precision_bound(sum(lack), len(lack), listed)
    at_bound = {} if inferred.test is None else _accuracy_at(low, inferred.test)
    return GuessPrecision(answers=len(lack), lacking=sum(lack), low=low, at_bound=at_bound)


def needed(report: Report, answers: Mapping[int, bool | None]) -> int | None:
    """As in `ImageAnswers`: what the answers lack before a verdict may rest on them."""
    drawn, listed = _drawn(report)
    lack = [bool(answers[one]) for one in drawn if answers.get(one) is not None]
    for more in range(sum(one not in answers for one in drawn) + 1):
        n = len(lack) + more
        if n and precision_bound(sum(lack) + more, n, listed) >= LEAST_PRECISION:
            return more
    return None


def _drawn(report: Report) -> tuple[list[int], int]:
    """The images that were drawn at random from all that seem to lack the pattern; how many are listed."""
    details = None if report.groups is None else report.groups.details
    if not isinstance(details, EarlyStageDetails):
        return [], 0
    return details.random_candidates, len(details.candidates)


def precision_bound(lacking: int, answers: int, listed: int) -> float:
    """The least share of all such images that do lack the pattern, if so many of the `answers` say so: the
    share itself where these are all that are listed, else a one-sided 97.5 % bound."""
    if answers == listed:
        return lacking / answers
    return float(clopper_pearson(lacking, answers, confidence=0.95)[0])  # either end at 97.5 %


def _accuracy_at(precision: float, split: InferredSplit) -> dict[Arm, float]:
    """Each model's accuracy on images that truly lack the pattern, if only this share of the inferred ones
    does and the others are answered like the rest; empty where that says nothing.

    The accuracy on the inferred ones is then the mean of the two, weighted by the precision.
    """
    if not (precision and split.lacking.n and split.rest.n):
        return {}
    accuracies = {}
    for arm, of in split.lacking.accuracies.items():
        others = (1 - precision) * split.rest.accuracies[arm].accuracy
        accuracies[arm] = min(1.0, max(0.0, (of.accuracy - others) / precision))
    return accuracies
