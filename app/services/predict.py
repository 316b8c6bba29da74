"""Predictions with the reject option: plan (one short read), one batched forward pass, the answer."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from app.deps import Services
from app.inference import Explain, Pair, Part, Scores, Seen, Upload
from app.schemas.predict import Agreement, Candidate, PredictAnswer, Prediction, PredictQuery, SaliencyMap
from app.services import calibrations, selection
from app.services.selection import Chosen
from core.queries import registry
from core.tables import ModelRow
from core.vocabulary import Decision
from models import pictures
from models.selective import score

EXPLAIN_METHOD = "xgradcam"
"""The method of the masks; where the head is linear it costs next to nothing."""


@dataclass(frozen=True)
class Plan:
    """All that a prediction takes from the database; an alias that moves later changes nothing in it."""

    model: ModelRow
    pair: Pair
    chosen: Chosen


def plan(session: Session, services: Services, query: PredictQuery) -> Plan:
    """Resolve the model, its partner and the policy. Raises what the query gets wrong."""
    wish = selection.wish(query)
    model = registry.get(session, query.model)
    name = calibrations.score_name(query.score, model)
    find = calibrations.needed if wish.policy in ("coverage", "max_risk") else calibrations.of
    chosen = selection.choose(wish, find(model, services.artifacts), name)
    if query.on_uncertified == "error":
        selection.require_certified(chosen)
    return Plan(model, pair_of(session, model), chosen)


def pair_of(session: Session, model: ModelRow) -> Pair:
    """The model and the ERM model that it was tuned from."""
    erm = None if model.erm_id is None else session.get(ModelRow, model.erm_id)
    return Pair(Part(model.id, model.artifact), None if erm is None else Part(erm.id, erm.artifact))


async def predict(
    services: Services, plan: Plan, query: PredictQuery, uploads: Sequence[Upload]
) -> PredictAnswer:
    """Answer, or abstain from, each image. Raises `BadImage` and `Overloaded`."""
    explain = Explain(EXPLAIN_METHOD) if query.explain else None
    seen = await services.inference.see(plan.pair, uploads, explain)
    if explain is None:
        return answer(plan, seen, query.top_k)
    return await services.inference.draw(lambda: answer(plan, seen, query.top_k))


def answer(plan: Plan, seen: Seen, top_k: int) -> PredictAnswer:
    """The scores as decisions."""
    classes, scores = plan.model.classes, seen.scores
    scored = score(plan.chosen.answer.score_name, scores.logits, scores.erm_logits)
    ranked = _candidates(scores.logits, classes, top_k)
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


def _candidates(logits: NDArray[np.float32], classes: list[str], top_k: int) -> list[list[Candidate]]:
    """The `top_k` classes of each input, the likeliest first; equals in the order of the classes."""
    z = logits.astype(np.float64)
    finite = np.asarray(np.isfinite(z).all(axis=1), np.bool_)
    z = np.where(finite[:, None], z, 0.0)
    odds = np.exp(z - z.max(1, keepdims=True))
    probabilities = odds / odds.sum(1, keepdims=True)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
    return [
        [Candidate(label=classes[k], probability=row[k]) for k in best] if usable else []
        for row, best, usable in zip(probabilities.tolist(), order.tolist(), finite.tolist(), strict=True)
    ]


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
    """A map as JSON numbers; a map that is not finite is all zero."""
    return [[v if math.isfinite(v) else 0.0 for v in row] for row in heat.astype(np.float64).tolist()]


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
