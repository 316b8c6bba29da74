"""From scores to an answer: each image has its own decision, label, candidates and agreement, in order."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference import Calibration, ForwardResult, Pair, Scores, StoredNetwork
from app.predictions.plans import PredictionPlan
from app.predictions.presenter import answer, largest
from app.selective.policy import PolicyRequest, apply_policy
from core.tables import ModelRow
from masktune.contract.hyperparameters import ScoreName
from masktune.contract.serving.predictions import Prediction
from models.selective import NEIGHBOURS, CalibrationTable, TrainingNeighbours, score

CLASSES = ["cat", "dog", "owl"]
LOGITS = np.array([[4, 0, 0], [0, 1, 0], [0, 0, 2], [math.nan, 0, 0], [0, 6, 6]], np.float32)
FEATURES = np.array([[2, 0], [3, 4], [0, 7], [0.1, 0], [-1, 0]], np.float32)
ERM = np.array([[4, 0, 0], [1, 0, 0], [0, 0, 2], [0, 0, 3], [0, 5, 0]], np.float32)


def told(
    request: PolicyRequest,
    *,
    erm: NDArray[np.float32] | None = None,
    top_k: int = 3,
    temperature: float = 1.0,
    neighbours: TrainingNeighbours | None = None,
) -> list[Prediction]:
    name: ScoreName = "max_softmax" if erm is None else "product"
    tables: dict[str, CalibrationTable] = {
        name: CalibrationTable.build(np.log([0.9, 0.7, 0.5, 0.4]), [True, True, False, False])
    }
    calibration = Calibration("cal_1", 1.7e9, tables, {}, temperature=temperature)
    model = ModelRow(id="mdl_1", classes=CLASSES)
    applied = apply_policy(request, calibration, name)
    plan = PredictionPlan(
        model, Pair(StoredNetwork("mdl_1", "models/mdl_1"), None), applied, calibration, neighbours=neighbours
    )
    features = None if neighbours is None else FEATURES
    seen = ForwardResult(np.zeros((5, 3, 8, 8), np.uint8), Scores(LOGITS, erm, features=features))
    found = answer(plan, seen, score(name, LOGITS, erm, temperature=temperature), top_k)
    assert found.model == "mdl_1"
    assert found.selection is applied.selection
    return found.predictions


def test_a_label_is_told_exactly_where_it_is_answered() -> None:
    found = told(PolicyRequest("min_score", 0.7))
    assert [p.decision.value for p in found] == ["answer", "abstain", "answer", "abstain", "abstain"]
    assert [p.label for p in found] == ["cat", None, "owl", None, None]
    assert [p.abstain_reason and str(p.abstain_reason) for p in found] == [
        None,
        "below_threshold",
        None,
        "below_threshold",
        "below_threshold",
    ]


@pytest.mark.parametrize("policy", [PolicyRequest("min_score", 0.7), PolicyRequest("none")])
def test_each_image_is_told_whether_it_is_unlike_the_training_images(policy: PolicyRequest) -> None:
    neighbours = TrainingNeighbours(np.tile(np.array([[1, 0]], np.float32), (NEIGHBOURS, 1)), 0.5)
    found = told(policy, neighbours=neighbours)
    tellings = [p.unlike_training for p in found]
    assert [telling and telling.unlike for telling in tellings] == [False, False, True, False, True]
    assert [telling and telling.distance for telling in tellings] == pytest.approx([0, 0.4, 1, 0, 2])
    assert {telling and telling.threshold for telling in tellings} == {0.5}
    strangers = [found[2], found[4]]
    if policy.policy == "none":
        assert [p.label for p in strangers] == ["owl", "dog"]
        return
    assert [p.label for p in strangers] == [None, None]
    assert {p.abstain_reason and str(p.abstain_reason) for p in strangers} == {"unlike_training"}
    assert strangers[0].score == pytest.approx(told(policy)[2].score), "its score is shown all the same"


def test_a_model_that_cannot_tell_says_so() -> None:
    assert {p.unlike_training for p in told(PolicyRequest("none"))} == {None}


def test_where_nothing_is_certified_nothing_is_answered_and_all_is_shown() -> None:
    found = told(PolicyRequest("max_risk", 0.01))
    assert {p.abstain_reason and str(p.abstain_reason) for p in found} == {"no_certified_threshold"}
    assert {p.label for p in found} == {None}
    assert [len(p.candidates) for p in found] == [3, 3, 3, 0, 3]


def test_a_score_is_the_probability_of_the_label_and_the_first_candidate_is_the_label() -> None:
    found = told(PolicyRequest("none"))
    shares = [np.exp(row) / np.exp(row).sum() for row in LOGITS.astype(np.float64)]
    for number, label in ((0, "cat"), (1, "dog"), (2, "owl"), (4, "dog")):
        prediction, share = found[number], shares[number]
        assert prediction.label == label == prediction.candidates[0].label
        assert prediction.score == pytest.approx(share.max())
        assert {c.label: c.probability for c in prediction.candidates} == pytest.approx(
            dict(zip(CLASSES, share.tolist(), strict=True))
        )
    assert (found[3].score, found[3].candidates, found[3].label) == (None, [], None)
    assert {p.agreement.agree for p in found} == {None}


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_as_many_candidates_as_were_asked_for_and_equals_in_the_order_of_the_classes(top_k: int) -> None:
    found = told(PolicyRequest("none"), top_k=top_k)
    assert [len(p.candidates) for p in found] == [min(top_k, 3)] * 3 + [0, min(top_k, 3)]
    assert [c.label for c in found[4].candidates] == ["dog", "owl", "cat"][:top_k]


def test_an_answer_has_one_confidence_at_the_temperature() -> None:
    plain, warm = (told(PolicyRequest("min_score", 0.7), temperature=t) for t in (1.0, 4.0))
    for one, other in zip(plain, warm, strict=True):
        assert [c.label for c in one.candidates] == [c.label for c in other.candidates]
        assert all(p.score == p.candidates[0].probability for p in (one, other) if p.candidates)
    assert warm[0].score == pytest.approx(math.e / (math.e + 2))
    assert [p.label for p in (plain[0], warm[0])] == ["cat", None]


def test_the_two_models_of_a_pair_are_told_apart_image_by_image() -> None:
    found = told(PolicyRequest("none"), erm=ERM)
    words = [(p.agreement.erm, p.agreement.model, p.agreement.agree) for p in found]
    assert words[:3] == [("cat", "cat", True), ("cat", "dog", False), ("owl", "owl", True)]
    assert words[4] == ("dog", "dog", True)
    own, theirs = (
        np.exp(row[1]) / np.exp(row).sum() for row in (LOGITS[1].astype(float), ERM[1].astype(float))
    )
    assert found[1].score == pytest.approx(own * theirs)


@pytest.mark.parametrize("erm", [None, ERM])
def test_an_image_is_told_what_it_is_told_alone(erm: NDArray[np.float32] | None) -> None:
    """Map and picture too, whoever came in the same request."""
    rng = np.random.default_rng(0)
    squares, maps = rng.integers(0, 256, (5, 3, 8, 8)).astype(np.uint8), rng.random((5, 4, 6), np.float32)
    maps[2, 1, 1] = math.nan
    scores = Scores(LOGITS, erm, maps, np.array([0, 1, 2, 0, 1]))
    applied = apply_policy(PolicyRequest("min_score", 0.5), None, "max_softmax")
    model, pair = ModelRow(id="mdl_1", classes=CLASSES), Pair(StoredNetwork("mdl_1", "models/mdl_1"), None)
    plan = PredictionPlan(model, pair, applied, None)
    together = answer(plan, ForwardResult(squares, scores), score("max_softmax", LOGITS), 2).predictions
    for n, prediction in enumerate(together):
        seen = ForwardResult(squares[n : n + 1], scores.rows(n, n + 1))
        (alone,) = answer(plan, seen, score("max_softmax", LOGITS[n : n + 1]), 2).predictions
        assert prediction == alone
        assert prediction.saliency is not None
        assert (prediction.saliency.target, prediction.saliency.size) == (CLASSES[(0, 1, 2, 0, 1)[n]], (4, 6))
        assert np.isfinite(prediction.saliency.map).all()
    shown = together[0].candidates[0].probability  # as it is, where no temperature was fitted
    assert shown == pytest.approx(math.exp(4) / (math.exp(4) + 2))
    pictures = {prediction.saliency.overlay for prediction in together if prediction.saliency is not None}
    assert len(pictures) == 5


def test_no_number_is_no_candidate() -> None:
    assert largest(np.full(40, math.nan), 2) == []
