"""From scores to the answer of a prediction: labels, decisions, probabilities, maps."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from app.inference import ForwardResult, Scores
from app.predictions.plans import PredictionPlan
from app.selective.policy import probability
from masktune.contract.serving.predictions import (
    Agreement,
    Answer,
    Candidate,
    Prediction,
    SaliencyMap,
    UnlikeTraining,
)
from masktune.contract.vocabulary import Decision
from models.runtime import images as pictures
from models.selective import Scored

EXPLAIN_METHOD = "xgradcam"
"""The method of the masks; with a linear head it costs next to nothing."""


def answer(plan: PredictionPlan, forward: ForwardResult, scored: Scored, top_k: int) -> Answer:
    """Turn the scores into decisions. Candidates are in order, most likely first; ties as the classes are."""
    classes, scores, sets = plan.model.classes, forward.scores, plan.sets
    labels = None if sets is None else sets.labels(scored.log_probabilities)
    unlike = _unlike(plan, scores)
    predictions = []
    for number, (label, score) in enumerate(zip(scored.labels.tolist(), scored.scores.tolist(), strict=True)):
        likeness = unlike[number]
        decision, reason = plan.policy.decide(
            score, classes[label], unlike=likeness is not None and likeness.unlike
        )
        predictions.append(
            Prediction(
                decision=decision,
                label=classes[label] if decision is Decision.ANSWER else None,
                abstain_reason=reason,
                score=probability(score),
                candidates=[
                    Candidate(label=classes[k], probability=math.exp(log))  # as `probability`, to the bit
                    for k, log in largest(scored.log_probabilities[number], top_k)
                ],
                labels=None if labels is None else labels[number],
                unlike_training=likeness,
                agreement=_agreement(scores, number, classes),
                saliency=None if scores.maps is None else _saliency(forward, number, classes),
            )
        )
    return Answer(model=plan.model.id, predictions=predictions, selection=plan.policy.selection)


def _unlike(plan: PredictionPlan, scores: Scores) -> Sequence[UnlikeTraining | None]:
    neighbours = plan.neighbours
    if neighbours is None:
        return [None] * len(scores.logits)
    assert scores.features is not None
    distances = neighbours.distances(scores.features).tolist()
    return [
        UnlikeTraining(
            distance=distance,
            threshold=neighbours.threshold,
            unlike=distance > neighbours.threshold,
        )
        for distance in distances
    ]


def largest(row: NDArray[np.float64], count: int) -> list[tuple[int, float]]:
    """Return the `count` largest entries of `row` (K,), each index with its value, in the order of a stable
    sort; none if the row is NaN. Sorts only `count` entries.
    """
    if math.isnan(row[0]):
        return []
    if count >= len(row):
        return sorted(enumerate(row.tolist()), key=itemgetter(1), reverse=True)
    last = row[np.argpartition(row, -count)[-count]]  # the smallest of the `count` largest
    above = np.flatnonzero(row > last)
    chosen = np.concatenate((above, np.flatnonzero(row == last)[: count - len(above)]))
    order = chosen[np.argsort(-row[chosen], kind="stable")]
    return list(zip(order.tolist(), row[order].tolist(), strict=True))


def _agreement(scores: Scores, number: int, classes: list[str]) -> Agreement:
    if scores.erm_logits is None:
        return Agreement(erm=None, model=None, agree=None)
    erm, own = int(scores.erm_logits[number].argmax()), int(scores.logits[number].argmax())
    return Agreement(erm=classes[erm], model=classes[own], agree=erm == own)


def _saliency(forward: ForwardResult, number: int, classes: list[str]) -> SaliencyMap:
    maps, targets = forward.scores.maps, forward.scores.targets
    assert maps is not None
    assert targets is not None
    heat = maps[number]
    picture = pictures.overlay(forward.squares[number].transpose(1, 2, 0), heat)
    return SaliencyMap(
        method=EXPLAIN_METHOD,
        target=classes[int(targets[number])],
        size=(heat.shape[0], heat.shape[1]),
        map=finite_rows(heat),
        overlay=data_uri(pictures.png(picture)),
    )


def finite_rows(heat: NDArray[np.float32]) -> list[list[float]]:
    """Convert a map to JSON numbers; non-finite values become 0."""
    return [[v if math.isfinite(v) else 0.0 for v in row] for row in heat.astype(np.float64).tolist()]


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
