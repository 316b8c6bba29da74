"""Predictions with the reject option, in order: plan → load → read → forward → decide → present.

The plan is one short read of the database, made before the images are in memory. Between it and the answer a
model may be deleted; then an alias may have moved on, and another plan is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

from app.http.etag import JSON
from app.inference import Explain, Inference, Seen, Upload
from app.predictions import plans, stored_images
from app.predictions import usage as tally
from app.predictions.admission import loaded
from app.predictions.disconnect import while_present
from app.predictions.plans import Plan
from app.predictions.presenter import EXPLAIN_METHOD, answer
from app.predictions.request_images import Sent
from app.predictions.stored_images import Stored
from app.predictions.usage import UsageCounters
from app.registry import calibrations
from app.services import Services
from core.errors import NotFound
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.predictions import Answer, PredictQuery, StoredPredictQuery
from models.selective import Scored

ReadImages = Callable[[], Awaitable[list[Upload]]]
"""Brings a request's images into memory, in order."""

NOT_STORED = {"Cache-Control": "private, no-store"}
"""Headers of an answer: it depends on an alias, a calibration and the caller's key, and may show an image."""
SMALL_ANSWER = 1024
"""Images × classes. Larger answers are not written on the event loop; this many take 1 ms."""


async def predict_uploaded(request: Request, services: Services, query: PredictQuery) -> Response:
    """Answer or abstain on each image in the body. These are real inputs, and are counted."""
    share = services.inference.memory.share()
    with Sent(request, services.settings, share, services.planners) as sent:
        await sent.receive()
        services.inference.check_room(len(sent.sizes))
        counters = UsageCounters(services.metrics, services.tally)

        async def predict(plan: Plan) -> Response:
            return await _predict(request, services.inference, plan, query, sent.uploads, counters)

        return await answered(partial(services.plans.get, query, partial(_plan, services, query)), predict)


async def predict_stored(request: Request, services: Services, query: StoredPredictQuery) -> Response:
    """Answer or abstain on a sample of a data set."""
    plan, stored = await run_sync(_plan_stored, services, query, limiter=services.planners)
    with services.inference.memory.share() as share:
        read = partial(
            stored_images.read, request, stored, share, stores=services.stores, threads=services.planners
        )
        return await _predict(request, services.inference, plan, query, read, None)


async def _predict(
    request: Request,
    inference: Inference,
    plan: Plan,
    query: PredictQuery,
    read: ReadImages,
    counters: UsageCounters | None,
) -> Response:
    """Carry out a plan, unless the client disconnects. Raises `BadImage`, `Overloaded`, `NotFound`."""
    explain = Explain(EXPLAIN_METHOD) if query.explain else None

    async def predicted() -> Response:
        await loaded(request, inference, plan.pair)
        uploads = await read()
        seen = await inference.see(plan.pair, uploads, explain)
        write = partial(_decide, plan, seen, query.top_k, counters)
        small = explain is None and seen.scores.logits.size <= SMALL_ANSWER
        body = write() if small else await inference.draw(write)
        return Response(body, media_type=JSON, headers=NOT_STORED)

    return await while_present(request, predicted())


def _plan(services: Services, query: PredictQuery) -> Plan:
    with services.database.read() as session:
        return plans.plan(session, services.inference, services.artifacts, query)


def _plan_stored(services: Services, query: StoredPredictQuery) -> tuple[Plan, Stored]:
    with services.database.read() as session:
        plan = plans.plan(session, services.inference, services.artifacts, query)
        return plan, stored_images.find(session, plan.model, query.dataset, query.sample)


def _decide(plan: Plan, seen: Seen, top_k: int, counters: UsageCounters | None) -> str:
    """Decide on each image, and return a `Answer` as JSON. A large one must be written off the event
    loop, which also keeps freeing one object per candidate off it."""
    scored = _scored(plan.chosen.answer.score_name, seen)
    prediction = answer(plan, seen, scored, top_k)
    if counters is not None:
        _count(counters, plan, seen, scored, prediction)
    return prediction.model_dump_json()


async def answered(
    read: Callable[[], Awaitable[Plan]], answer: Callable[[Plan], Awaitable[Response]]
) -> Response:
    """Answer by a plan. If its model is deleted in the meantime, plan again: the alias may have moved."""
    plan = await read()
    try:
        return await answer(plan)
    except NotFound:
        again = await read()
        if again.pair == plan.pair:
            raise
    return await answer(again)


def _scored(name: ScoreName, seen: Seen) -> Scored:
    judged = seen.scores.judged
    assert judged is not None  # set by the batcher
    return judged.score(name)


def _count(counters: UsageCounters, plan: Plan, seen: Seen, scored: Scored, prediction: Answer) -> None:
    """Count for the metrics of this process, and for the model's drift over all processes."""
    calibration, watched = plan.calibration, calibrations.score_name(None, plan.model)
    if watched != plan.chosen.answer.score_name:
        scored = _scored(watched, seen)
    references = () if calibration is None else calibration.references[watched]
    counts = tally.count(prediction.predictions, scored.scores.tolist(), references)
    counters.add(plan.model.id, "" if calibration is None else calibration.id, counts)
