"""Prediction sets by class against MAPIE's split conformal classifier, calibrated on each class alone."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from models.selective import PredictionSets


class FromProbabilities(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier whose inputs are its probabilities."""

    def __init__(self) -> None:
        self.classes_ = np.arange(3)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, _x: object, _y: object) -> FromProbabilities:
        return self

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.asarray(x.argmax(1))

    def predict_proba(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return x


@pytest.mark.parametrize("coverage", [0.7, 0.9, 0.95])
def test_each_class_is_in_the_sets_that_mapie_puts_it_in(coverage: float) -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(3, 500, p=[0.6, 0.3, 0.1])
    probabilities = np.stack([rng.dirichlet(1 + 3 * np.eye(3)[label]) for label in labels])
    inputs = rng.dirichlet(np.ones(3), 400)
    own = {str(k): sorted(np.log(probabilities[labels == k, k]).tolist(), reverse=True) for k in range(3)}
    ours = PredictionSets.build(own, {label: len(logs) for label, logs in own.items()}, coverage)
    own_sets = ours.labels(np.log(inputs))
    for k in range(3):
        theirs = SplitConformalClassifier(
            FromProbabilities(), confidence_level=coverage, conformity_score="lac"
        )
        theirs.conformalize(probabilities[labels == k], labels[labels == k])
        _, sets = theirs.predict_set(inputs)
        # Ours are never empty: the likeliest class is in all of them.
        expected = sets[:, k, 0] | (inputs.argmax(1) == k)
        assert [str(k) in labels for labels in own_sets] == expected.tolist()
