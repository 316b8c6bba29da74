"""`/reviews`: images that models were sent, handed out to people, and what they say of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.auth.deps import ADMIN, READER, REVIEWER, REVIEWING_TRAINER, CallerDep, CallerFirst
from app.datasets.samples import media_type
from app.http import lists
from app.http.deps import ArtifactsDep, DatabaseDep, Reading, Writing
from app.http.lists import DEFAULT_LIMIT, Cursor, Limit
from app.http.problems import problems
from app.http.responses import NOT_MODIFIED, Responses, attachment, conditional, represent, sends
from app.jobs.service import CreationDep
from app.registry.service import LoadedModel
from app.review_queue import service as reviews
from app.review_queue import training_set
from app.review_queue.service import ReviewKey
from core.queries import registry, review_queue
from core.queries.rows import newest_first
from core.tables import ReviewItemRow
from masktune.contract.base import ModelRef, Page
from masktune.contract.datasets import Dataset
from masktune.contract.serving.review_queue import (
    NewReviewPolicy,
    ReviewAnswer,
    ReviewDatasetRequest,
    ReviewItem,
    ReviewPolicy,
    ReviewState,
)
from masktune.contract.vocabulary import ReviewKind

router = APIRouter(tags=["reviews"], route_class=CallerFirst)

CSV = "text/csv"
NOTHING_WAITS: Responses = {204: {"description": "No image waits that is not handed out to somebody else."}}
OfModel = Annotated[ModelRef | None, Query(description="Only the queue of this model, by id or alias.")]
OfKind = Annotated[ReviewKind | None, Query(description="Only images of this kind.")]
InState = Annotated[ReviewState | None, Query(description="Only images in this state.")]


def _model_id(session: Session, model: str | None) -> str | None:
    """The id of the model with this id or alias, None for none. Raises `NotFound`."""
    return None if model is None else registry.get(session, model).id


def _conditions(
    session: Session, model: str | None, kind: ReviewKind | None, state: ReviewState | None
) -> list[ColumnElement[bool]]:
    """The SQL conditions on the items of a list; `model` is an id or an alias. Raises `NotFound`."""
    return review_queue.where(_model_id(session, model), kind, state)


@router.get(
    "/models/{model}/review-policy",
    dependencies=[READER],
    response_model=ReviewPolicy,
    summary="Get which images of a model are put into its review queue",
    responses=NOT_MODIFIED | problems(404),
)
def get_review_policy(request: Request, row: LoadedModel) -> Response:
    return conditional(request, reviews.policy(row))


@router.put(
    "/models/{model}/review-policy",
    dependencies=[ADMIN],
    response_model=ReviewPolicy,
    summary="Set which images of a model are put into its review queue, and for how long",
    responses=problems(404),
)
def set_review_policy(row: LoadedModel, policy: NewReviewPolicy, database: DatabaseDep) -> Response:
    return represent(reviews.set_policy(database, row.id, policy))


@router.get(
    "/reviews",
    dependencies=[REVIEWER],
    response_model=Page[ReviewItem],
    summary="List the images of review queues, newest first",
    responses=NOT_MODIFIED | problems(404, 422),
)
def list_reviews(
    request: Request,
    session: Reading,
    model: OfModel = None,
    kind: OfKind = None,
    state: InState = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    rows = newest_first(
        session,
        ReviewItemRow,
        before=lists.decode(cursor),
        limit=limit + 1,
        conditions=_conditions(session, model, kind, state),
    )
    return conditional(request, lists.page(rows, limit, reviews.describe))


@router.post(
    "/reviews/next",
    dependencies=[REVIEWER],
    response_model=ReviewItem,
    summary="Be handed the next image that waits for an answer",
    responses=NOTHING_WAITS | problems(404, 422),
)
def claim_review(session: Writing, caller: CallerDep, model: OfModel = None, kind: OfKind = None) -> Response:
    """Nobody else is handed it for ten minutes. The audit sample comes first, then the oldest."""
    row = review_queue.claim(session, caller.id, model_id=_model_id(session, model), kind=kind)
    return Response(status_code=204) if row is None else represent(reviews.describe(row))


@router.get(
    "/reviews.csv",
    dependencies=[REVIEWER],
    response_class=Response,
    summary="Download the images of review queues as a table, oldest first",
    responses=sends(CSV) | problems(404, 422),
)
def export_reviews(
    database: DatabaseDep, model: OfModel = None, kind: OfKind = None, state: InState = None
) -> Response:
    with database.read() as session:
        content = reviews.table(review_queue.every(session, _conditions(session, model, kind, state)))
    return Response(content, media_type=CSV, headers={"Content-Disposition": attachment("reviews.csv")})


@router.get(
    "/reviews/{review_id}",
    dependencies=[REVIEWER],
    response_model=ReviewItem,
    summary="Get an image of a review queue",
    responses=NOT_MODIFIED | problems(404),
)
def get_review_item(request: Request, review_id: ReviewKey, session: Reading) -> Response:
    return conditional(request, reviews.describe(review_queue.get(session, review_id)))


@router.get(
    "/reviews/{review_id}/image",
    dependencies=[REVIEWER],
    response_class=Response,
    summary="Get the image as it was sent",
    responses=sends("image/*") | NOT_MODIFIED | problems(404),
)
def get_review_image(request: Request, review_id: ReviewKey, session: Reading) -> Response:
    content = review_queue.image(session, review_id)
    return conditional(request, content, media_type=media_type(content))


@router.post(
    "/reviews/{review_id}/answer",
    dependencies=[REVIEWER],
    response_model=ReviewItem,
    summary="Say what an image shows",
    responses=problems(404, 409, 422),
)
def answer_review(
    review_id: ReviewKey, answer: ReviewAnswer, session: Writing, caller: CallerDep
) -> Response:
    """The first answer is taken, and a second one is a 409."""
    return represent(reviews.take_answer(session, review_id, answer, caller))


@router.delete(
    "/reviews/{review_id}/answer",
    dependencies=[REVIEWER],
    response_model=ReviewItem,
    summary="Take back the last answer of yours",
    responses=problems(404, 409),
)
def undo_review(review_id: ReviewKey, session: Writing, caller: CallerDep) -> Response:
    return represent(reviews.undo(session, review_id, caller))


@router.delete(
    "/reviews/{review_id}",
    dependencies=[ADMIN],
    status_code=204,
    summary="Delete an image of a review queue",
    responses=problems(404),
)
def delete_review(review_id: ReviewKey, session: Writing) -> None:
    """Of the audit sample, what was said of it stays; if nobody has answered, it counts as wrong."""
    reviews.delete(session, review_id)


@router.delete(
    "/models/{model}/reviews",
    dependencies=[ADMIN],
    status_code=204,
    summary="Delete the review queue of a model, with all answers",
    responses=problems(404),
)
def delete_reviews(row: LoadedModel, session: Writing) -> None:
    """The promise of the model is monitored from the start again."""
    reviews.delete_all(session, row.id)


@router.post(
    "/models/{model}/reviews/dataset",
    dependencies=[REVIEWING_TRAINER],
    status_code=202,
    response_model=Dataset,
    summary="Make a data set of the model's and its abstained images that have a label",
    responses=problems(404, 409, 422, 507),
)
def create_dataset_from_reviews(
    row: LoadedModel, request: ReviewDatasetRequest, creation: CreationDep, artifacts: ArtifactsDep
) -> Response:
    """They are added to `train` alone. Images of the audit sample go nowhere."""
    return training_set.create(creation, row, request, artifacts)
