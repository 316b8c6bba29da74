"""Predictions with the reject option: a plan (one short read), one batched forward pass, the answer."""

from __future__ import annotations

import base64
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session
from starlette.responses import Response

from app.inference import Calibration, Explain, Inference, Pair, Part, Scores, Seen, Upload
from app.predictions import policy as selection
from app.predictions import usage as tally
from app.predictions.policy import Chosen
from app.predictions.schemas import Agreement, Candidate, PredictAnswer, Prediction, PredictQuery, SaliencyMap
from app.predictions.usage import UsageCounters
from app.registry import calibrations
from app.registry import service as models
from core.artifacts import ArtifactMissing, Artifacts
from core.errors import NotFound
from core.tables import ModelRow
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.vocabulary import Decision
from models.runtime import images as pictures
from models.selective import Scored, probabilities

EXPLAIN_METHOD = "xgradcam"
"""The method of the masks; with a linear head it costs next to nothing."""

SMALL_ANSWER = 1024
"""Images × classes. Larger answers are not written on the event loop; this many take 1 ms."""


@dataclass(frozen=True)
class Plan:
    """All that a prediction reads from the database; moving an alias later does not change it."""

    model: ModelRow
    pair: Pair
    chosen: Chosen
    calibration: Calibration | None


def plan(session: Session, inference: Inference, artifacts: Artifacts, query: PredictQuery) -> Plan:
    """Resolve the model, its ERM model and the policy. Raises for whatever is wrong with the query."""
    try:
        return _plan(session, inference, artifacts, query)
    except ArtifactMissing:  # the model was deleted or recalibrated after its row was read: read again
        session.rollback()
        return _plan(session, inference, artifacts, query)


def _plan(session: Session, inference: Inference, artifacts: Artifacts, query: PredictQuery) -> Plan:
    wish = selection.wish(query)
    model = models.find(session, inference, query.model)
    name = calibrations.score_name(query.score, model)
    find = calibrations.needed if wish.policy in ("coverage", "max_risk") else calibrations.of
    calibration = find(model, artifacts)
    chosen = selection.choose(wish, calibration, name)
    if query.on_uncertified == "error":
        selection.require_certified(chosen)
    return Plan(model, pair_of(session, model), chosen, calibration)


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


def pair_of(session: Session, model: ModelRow) -> Pair:
    """Return the model and, if there is one, the ERM model that it was tuned from."""
    erm = None if model.erm_id is None else session.get(ModelRow, model.erm_id)
    return Pair(Part(model.id, model.artifact), None if erm is None else Part(erm.id, erm.artifact))


def explanation(query: PredictQuery) -> Explain | None:
    """Return the requested saliency map, if any."""
    return Explain(EXPLAIN_METHOD) if query.explain else None


async def predict(
    inference: Inference,
    plan: Plan,
    query: PredictQuery,
    uploads: Sequence[Upload],
    *,
    counters: UsageCounters | None = None,
) -> str:
    """Answer or abstain on each image; return a `PredictAnswer` as JSON. Raises `BadImage`, `Overloaded`.

    Real inputs are counted; predictions of stored samples have no `counters`.
    """
    explain = explanation(query)
    seen = await inference.see(plan.pair, uploads, explain)
    write = partial(_written, plan, seen, query.top_k, counters)
    if explain is None and seen.scores.logits.size <= SMALL_ANSWER:
        return write()
    return await inference.draw(write)


def _written(plan: Plan, seen: Seen, top_k: int, counters: UsageCounters | None) -> str:
    """Write the answer as JSON. A large one must be written off the event loop, which also keeps freeing one
    object per candidate off it."""
    scored = _scored(plan.chosen.answer.score_name, seen)
    found = answer(plan, seen, scored, top_k)
    if counters is not None:
        _count(counters, plan, seen, scored, found)
    return found.model_dump_json()


def _scored(name: ScoreName, seen: Seen) -> Scored:
    judged = seen.scores.judged
    assert judged is not None  # set by the batcher
    return judged.score(name)


def _count(counters: UsageCounters, plan: Plan, seen: Seen, scored: Scored, found: PredictAnswer) -> None:
    """Count for the metrics of this process, and for the model's drift over all processes."""
    calibration, watched = plan.calibration, calibrations.score_name(None, plan.model)
    if watched != plan.chosen.answer.score_name:
        scored = _scored(watched, seen)
    references = () if calibration is None else calibration.references[watched]
    counts = tally.count(found.predictions, scored.scores.tolist(), references)
    counters.add(plan.model.id, "" if calibration is None else calibration.id, counts)


def answer(plan: Plan, seen: Seen, scored: Scored, top_k: int) -> PredictAnswer:
    """Turn the scores into decisions."""
    classes, scores = plan.model.classes, seen.scores
    temperature = 1.0 if plan.calibration is None else plan.calibration.temperature
    ranked = _candidates(scores.logits, classes, top_k, temperature)
    predictions = []
    for number, (label, value) in enumerate(zip(scored.labels.tolist(), scored.scores.tolist(), strict=True)):
        decision, reason = plan.chosen.decide(value)
        predictions.append(
            Prediction(
                decision=decision,
                label=classes[label] if decision is Decision.ANSWER else None,
                abstain_reason=reason,
                score=selection.probability(value),
                candidates=ranked[number],
                agreement=_agreement(scores, number, classes),
                saliency=_saliency(seen, number, classes),
            )
        )
    return PredictAnswer(model=plan.model.id, predictions=predictions, selection=plan.chosen.answer)


def _candidates(
    logits: NDArray[np.float32], classes: list[str], top_k: int, temperature: float
) -> list[list[Candidate]]:
    """Return the `top_k` classes of each input, most likely first; ties in the order of the classes."""
    return [
        [Candidate(label=classes[k], probability=share) for k, share in largest(row, top_k)]
        for row in probabilities(logits, temperature)
    ]


def largest(row: NDArray[np.float64], count: int) -> list[tuple[int, float]]:
    """Return the `count` largest entries of `row` (K,), each index with its value, in the order of a stable
    sort; none if the row is NaN. Sorts only `count` entries.
    """
    if math.isnan(row[0]):
        return []
    chosen = np.arange(len(row))
    if count < len(row):
        last = row[np.argpartition(row, -count)[-count]]  # the smallest of the `count` largest
        above = np.flatnonzero(row > last)
        chosen = np.concatenate((above, np.flatnonzero(row == last)[: count - len(above)]))
    order = chosen[np.argsort(-row[chosen], kind="stable")]
    return list(zip(order.tolist(), row[order].tolist(), strict=True))


def _agreement(scores: Scores, number: int, classes: list[str]) -> Agreement:
    if scores.erm_logits is None:
        return Agreement(erm=None, masktune=None, agree=None)
    erm, own = int(scores.erm_logits[number].argmax()), int(scores.logits[number].argmax())
    return Agreement(erm=classes[erm], masktune=classes[own], agree=erm == own)


def _saliency(seen: Seen, number: int, classes: list[str]) -> SaliencyMap | None:
    if seen.scores.maps is None or seen.scores.targets is None:
        return None
    heat = seen.scores.maps[number]
    picture = pictures.overlay(seen.squares[number].transpose(1, 2, 0), heat)
    return SaliencyMap(
        method=EXPLAIN_METHOD,
        target=classes[int(seen.scores.targets[number])],
        size=(heat.shape[0], heat.shape[1]),
        map=finite_rows(heat),
        overlay=data_uri(pictures.png(picture)),
    )


def finite_rows(heat: NDArray[np.float32]) -> list[list[float]]:
    """Convert a map to JSON numbers; non-finite values become 0."""
    return [[v if math.isfinite(v) else 0.0 for v in row] for row in heat.astype(np.float64).tolist()]


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
