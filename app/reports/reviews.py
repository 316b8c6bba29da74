"""Keeps what a person says of the images that a report lists."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from sqlalchemy.orm import Session

from app.auth.keyring import Caller
from app.http.caller_ids import public_id
from app.http.etag import require_match
from app.jobs.reviews import describe
from app.reports.precision import guess_precision
from core.errors import Conflict, FieldError, InvalidInput, NotFound, PreconditionFailed
from core.queries import datasets, jobs, reviews
from core.tables import JobRow, ReviewRow
from masktune.contract.report import Report
from masktune.contract.report.review import ReportReview
from masktune.contract.reviews import NewReview, Review


def show(session: Session, job: JobRow) -> Review:
    """The review of the images that the job's report lists, or `NotFound`."""
    row = session.get(ReviewRow, job.id)
    if row is None:
        raise NotFound(f"nobody has said anything of the images of job {job.id} yet")
    return describe(row)


def presented(session: Session, report: Report) -> Report:
    """The report with what a person said since."""
    row = session.get(ReviewRow, report.job)
    if row is None:
        return report
    review, inferred = describe(row), report.inferred_groups
    if inferred is not None:
        precision = guess_precision(report, review.answers)
        inferred = inferred.model_copy(update={"precision": precision})
    return report.model_copy(update={"review": ReportReview.of(review), "inferred_groups": inferred})


def listed_samples(report: Report) -> list[int]:
    """The samples that the report asks to look at, or `Conflict`."""
    samples = report.recommendation.samples_to_review if report.recommendation else []
    if not samples:
        raise Conflict(
            f"the report of job {report.job} lists no images to look at, so there is nothing to say of them; "
            "the reports with a step review_images do"
        )
    return samples


def check(review: NewReview, listed: Collection[int]) -> dict[int, bool]:
    """The answers by sample. Raises `InvalidInput` for samples that are not listed, or answered twice."""
    answers: dict[int, bool] = {}
    faults = []
    for place, answer in enumerate(review.answers):
        pointer = f"/answers/{place}/sample"
        if answer.sample not in listed:
            fault = f"sample {answer.sample} is none of those that the report lists; leave it out"
            faults.append(FieldError(pointer, "not-listed", fault))
        elif answer.sample in answers:
            faults.append(FieldError(pointer, "duplicate", f"sample {answer.sample} is answered twice"))
        answers[answer.sample] = answer.lacks_pattern
    if faults:
        raise InvalidInput(faults[0].detail, errors=tuple(faults))
    return answers


def put(
    session: Session, job_id: str, answers: dict[int, bool], caller: Caller, *, if_match: str | None
) -> tuple[Review, bool]:
    """Keep the answers instead of earlier ones; whether there were any.

    Raises `PreconditionFailed` if these no longer have the ETag, `NotFound` if the data set was deleted.
    """
    job = jobs.get(session, job_id, lock=True)
    datasets.keep(session, str(job.dataset_id))
    before = session.get(ReviewRow, job_id)
    changed = f"the review of job {job_id} has changed; read it again and retry"
    if before is not None:
        require_match(if_match, partial(describe, before), changed)
    elif if_match is not None:
        raise PreconditionFailed(changed)
    row = reviews.put(session, job, answers, by=public_id(caller.id), by_name=caller.name)
    return describe(row), before is not None
