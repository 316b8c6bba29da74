"""The temperature of probabilities: found where it is known, finite where nothing bounds it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from models.selective import fit_temperature, log_softmax, score
from models.types import Floats


def probabilities(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    return np.exp(log_softmax(logits, temperature))


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(true: float) -> None:
    rng = np.random.default_rng(0)
    logits = 4 * rng.normal(size=(4000, 5))
    labels = (rng.random((4000, 1)) > probabilities(logits, true).cumsum(1)).sum(1)
    assert fit_temperature(logits, labels) == pytest.approx(true, rel=0.1)


def test_it_is_the_least_of_the_loss_that_is_written_down() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)

    def loss(temperature: float) -> float:
        logs = np.log(probabilities(logits, temperature))
        return float(-logs[np.arange(60), labels].sum() - logs.mean())  # and a sample of the mean loss

    found = fit_temperature(logits, labels)
    assert loss(found) < min(loss(found * (1 - 1e-4)), loss(found * (1 + 1e-4)))  # of a loss with one minimum
    assert 0.05 < found < 20


def test_a_split_without_an_error_does_not_ask_for_probability_one() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 2))
    temperature = fit_temperature(logits, logits.argmax(1))
    assert 0.05 < temperature < 1
    assert probabilities(logits, temperature).max() < 1


def test_unusable_rows_are_left_out() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 3)), rng.integers(0, 3, 200)
    damaged = np.vstack([logits, [[np.nan, 0, 0], [np.inf, 0, 0]]])
    assert fit_temperature(damaged, np.append(labels, [0, 1])) == fit_temperature(logits, labels)
    assert fit_temperature(damaged[-2:], np.array([0, 1])) == 1.0
    assert np.isnan(probabilities(damaged)[-2:]).all()


@given(st.floats(0.05, 20), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_it_changes_probabilities_and_no_label_and_no_score_of_a_pair(temperature: float, seed: int) -> None:
    logits = 5 * np.random.default_rng(seed).normal(size=(20, 4))
    shown = probabilities(logits, temperature)
    assert np.allclose(shown, np.exp(logits / temperature) / np.exp(logits / temperature).sum(1)[:, None])
    scored = score("max_softmax", logits, temperature=temperature)
    assert np.array_equal(shown.argmax(1), scored.labels)
    assert np.array_equal(np.exp(scored.scores), shown.max(1))
    one, other = (score("product", logits, logits, temperature=t) for t in (1.0, temperature))
    assert np.array_equal(one.scores, other.scores)
