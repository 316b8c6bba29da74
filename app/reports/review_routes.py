"""`/jobs/{id}/review`: what a person says of the images that the report lists."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.auth.deps import READER, TRAINER, CallerDep, CallerFirst
from app.http.deps import ArtifactsDep, DatabaseDep, Reading, RootPathDep
from app.http.etag import IfMatch, conditional, represent
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, Responses
from app.jobs.service import LoadedJob
from app.reports import reviews
from app.reports import service as reports
from masktune.contract.reviews import NewReview, Review

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=CallerFirst)

CREATED: Responses = {201: {"model": Review, "description": "These are the first answers."}}


@router.get(
    "/{job_id}/review",
    dependencies=[READER],
    response_model=Review,
    summary="Get what a person said of the images that the report lists",
    responses=NOT_MODIFIED | problems(404),
)
def get_review(request: Request, row: LoadedJob, session: Reading) -> Response:
    return conditional(request, reviews.show(session, row))


@router.put(
    "/{job_id}/review",
    dependencies=[TRAINER],
    response_model=Review,
    summary="Say which of the images that the report lists lack the pattern of their class",
    responses=CREATED | problems(404, 409, 412, 413),
)
def set_review(
    row: LoadedJob,
    review: NewReview,
    caller: CallerDep,
    artifacts: ArtifactsDep,
    database: DatabaseDep,
    root_path: RootPathDep,
    if_match: IfMatch = None,
) -> Response:
    """The answers replace earlier ones. The next job on the data set goes by them, unless it is told its
    `head.gate`."""
    listed = reviews.listed_samples(reports.read(row, artifacts))
    answers = reviews.check(review, frozenset(listed))
    with database.begin() as session:
        stored, existed = reviews.put(session, row.id, answers, caller, if_match=if_match)
    headers = {"Location": f"{root_path}/jobs/{row.id}/review"}
    return represent(stored, status=200 if existed else 201, headers=headers)
