"""Predictions with the reject option, in order: plan → load → enter → read → forward → decide → present.

The plan is one short read of the database, made before the images are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

from app.datasets.stores import Stores
from app.http.responses import JSON
from app.http.single_flight import SingleFlight
from app.inference import Explain, ForwardResult, Inference
from app.predictions import plans, stored_images
from app.predictions.disconnect import cancel_on_disconnect
from app.predictions.plans import PredictionPlan
from app.predictions.presenter import EXPLAIN_METHOD, answer
from app.predictions.request_images import RequestImages
from app.predictions.stored_images import Stored
from app.review_queue import queueing
from app.review_queue.queueing import DrawnImage, ReceivedImages
from app.review_queue.spool import Spool
from app.selective import calibrations
from app.selective.usage import UsageCounters, count
from core.errors import NotFound
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.serving.predictions import (
    CERTIFIED_POLICIES,
    Answer,
    PredictQuery,
    StoredPredictQuery,
    UploadedPredictQuery,
    policy_fields,
)
from models.selective import Scored, score

Count = Callable[[PredictionPlan, Mapping[ScoreName, Scored], Answer], None]
"""Counts the inputs of a request and their outcomes."""


NOT_STORED = {"Cache-Control": "private, no-store"}
"""Headers of an answer: it depends on an alias, a calibration and the caller's key, and may show an image."""
SMALL_ANSWER = 1024
"""Images × classes. Larger answers are not written on the event loop; this many take 1 ms."""


@dataclass(frozen=True)
class PredictionService:
    """Answers or abstains on images."""

    settings: Settings
    database: Database
    artifacts: Artifacts
    stores: Stores
    inference: Inference
    counters: UsageCounters
    spool: Spool
    threads: CapacityLimiter
    """Threads reserved for predictions' database reads; slow requests of other kinds cannot take them."""
    plans: SingleFlight[PredictionPlan]
    """Plans of uploaded images, shared by concurrent requests with the same query."""
    certificates: CapacityLimiter
    """Threads for plans that certify a risk, which takes long: none of `threads` waits for them."""

    async def predict_uploaded(self, request: Request, query: UploadedPredictQuery) -> Response:
        """Answer or abstain on each image in the body. These are real inputs, and are counted."""
        with RequestImages(request, self.settings, self.threads) as images:
            await images.receive()
            return await cancel_on_disconnect(request, self.answer_uploaded(images, query))

    async def answer_uploaded(self, images: RequestImages, query: UploadedPredictQuery) -> Response:
        """Plan and answer. If the model is deleted in between, plan once more: its alias may have moved."""
        subject = query.subject
        if subject is not None:  # it has no part in the plan
            query = query.model_copy(update={"subject": None})
        explain = Explain(EXPLAIN_METHOD) if query.explain else None
        read_plan = partial(self.plans.get, query, partial(self._plan, query), self._planners(query))
        plan, again = await read_plan(), True
        while True:
            try:
                engine = await self.inference.engine(plan.pair)
                with self.inference.admitted(len(images.sizes), images.nbytes) as reservation:
                    uploads = await images.uploads()
                    forward = await self.inference.forward(
                        engine, uploads, reservation, explain, features=plan.neighbours is not None
                    )
                    return await self._respond(plan, forward, query, ReceivedImages(uploads, subject))
            except NotFound:
                newer = await read_plan() if again else plan
                if newer.pair == plan.pair:
                    raise
                plan, again = newer, False

    async def predict_stored(self, query: StoredPredictQuery) -> Response:
        """Answer or abstain on a sample of a data set."""
        explain = Explain(EXPLAIN_METHOD) if query.explain else None
        plan, stored = await run_sync(self._plan_stored, query, limiter=self._planners(query))
        engine = await self.inference.engine(plan.pair)
        upload = await stored_images.read(
            stored, self.inference.admission, stores=self.stores, threads=self.threads
        )
        with self.inference.admitted(1, len(upload.content)) as reservation:
            forward = await self.inference.forward(
                engine, [upload], reservation, explain, features=plan.neighbours is not None
            )
            return await self._respond(plan, forward, query, None)

    async def _respond(
        self,
        plan: PredictionPlan,
        forward: ForwardResult,
        query: PredictQuery,
        received: ReceivedImages | None,
    ) -> Response:
        """Decide on each image. A large answer is written off the event loop."""
        count_inputs = None if received is None else partial(_count, self.counters, received.subject)
        write = partial(_decide, plan, forward, query.top_k, count_inputs)
        small = forward.scores.maps is None and forward.scores.logits.size <= SMALL_ANSWER
        body, drawn = write() if small else await self.inference.draw(write)
        if received is not None and drawn:  # kept before the response: a kill after it loses nothing
            images = queueing.queued(plan.model.id, drawn, received)
            await run_sync(self.spool.append, images, limiter=self.threads)
        return Response(body, media_type=JSON, headers=NOT_STORED)

    def _planners(self, query: PredictQuery) -> CapacityLimiter:
        certifies = CERTIFIED_POLICIES & {*policy_fields(query).values()}
        return self.certificates if certifies else self.threads

    def _plan(self, query: PredictQuery) -> PredictionPlan:
        with self.database.read() as session:
            return plans.plan(session, self.inference, self.artifacts, query)

    def _plan_stored(self, query: StoredPredictQuery) -> tuple[PredictionPlan, Stored]:
        with self.database.read() as session:
            plan = plans.plan(session, self.inference, self.artifacts, query)
            return plan, stored_images.find(session, plan.model, query.dataset, query.sample)


def _decide(
    plan: PredictionPlan, forward: ForwardResult, top_k: int, count_inputs: Count | None
) -> tuple[str, Sequence[DrawnImage]]:
    """Decide on each image, and return an `Answer` as JSON, and what of it may join the review queue.
    A large one must be written off the event loop, which also keeps freeing one object per candidate off it.
    """
    score_name, raw = plan.policy.selection.score_name, forward.scores
    scored = {
        name: score(name, raw.logits, raw.erm_logits, temperature=plan.temperature)
        for name in {score_name, calibrations.score_name(None, plan.model)}
    }
    prediction = answer(plan, forward, scored[score_name], top_k)
    if count_inputs is not None:
        count_inputs(plan, scored, prediction)
    drawn = list[DrawnImage]()
    if count_inputs is not None and plan.model.review_policy is not None:  # no stored sample joins a queue
        drawn = queueing.draw(plan.model, prediction)
    return prediction.model_dump_json(), drawn


def _count(
    counters: UsageCounters,
    subject: str | None,
    plan: PredictionPlan,
    scored: Mapping[ScoreName, Scored],
    prediction: Answer,
) -> None:
    """Count for the metrics of this process, and for the model's drift over all processes.
    All inputs of the request show `subject`, if it names one. `scored` has the calibration's own score, by
    its name."""
    calibration, watched = plan.calibration, calibrations.score_name(None, plan.model)
    references = () if calibration is None else calibration.references[watched]
    scores = scored[watched].scores.tolist()
    calibration_id = "" if calibration is None else calibration.id
    independent = counters.independent(calibration_id or plan.model.id, subject, len(scores))
    counts = count(prediction.predictions, scores, references, independent)
    counters.add(plan.model.id, calibration_id, counts)
