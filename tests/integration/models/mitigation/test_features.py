"""Linear heads: the optimum is scikit-learn's, held out means held out, a network says what its head says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backbones.build import build_network
from models.data.loading.batches import make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.mitigation import logistic as fitting
from models.mitigation.features import HeadError, compute_features, install_head, linear_layer
from models.mitigation.logistic import (
    Standardised,
    balanced_weights,
    fit_heads,
    folds,
    group_weights,
    held_out_logits,
)
from models.run import Run
from tests.support.seeds import shifted
from tests.unit.models.conftest import StoreFactory

RUN = Run(seed=shifted(0))


def _points(count: int = 80, width: int = 5, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(shifted(0))
    labels = np.arange(count) % classes
    centres = rng.normal(size=(classes, width))
    return (centres[labels] + rng.normal(size=(count, width))).astype(np.float32), labels.astype(np.int64)


@pytest.mark.trains
def test_the_optimum_is_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    values, labels = _points()
    weights = np.stack([np.ones(80), balanced_weights(labels, np.arange(80) % 2 + 2 * labels)], 1)
    weights[:10, 1] = 0
    for penalty in (1.0, 0.01):
        heads = fit_heads(
            torch.from_numpy(values),
            torch.from_numpy(labels),
            torch.from_numpy(weights),
            penalty=penalty,
            classes=3,
        )
        for column in range(2):
            share = weights[:, column] / weights[:, column].sum()
            theirs = LogisticRegression(C=1 / penalty, max_iter=5000, tol=1e-8)
            theirs.fit(values, labels, sample_weight=share)
            ours = heads[column].numpy()
            logits = values @ ours[:-1] + ours[-1]
            probabilities = torch.from_numpy(logits).softmax(1).numpy()
            assert np.allclose(probabilities, theirs.predict_proba(values), atol=2e-3)


@pytest.mark.trains
def test_some_rows_at_a_time_find_the_same_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = map(torch.from_numpy, _points())
    weights = torch.ones(80, 4)
    whole = fit_heads(values, labels, weights, penalty=0.1, classes=3)
    monkeypatch.setattr(fitting, "_LOGITS_AT_ONCE", 7 * 4 * 3)  # seven rows, and three at the end
    torch.testing.assert_close(
        fit_heads(values, labels, weights, penalty=0.1, classes=3), whole, atol=1e-3, rtol=1e-3
    )


@pytest.mark.trains
def test_some_heads_at_a_time_find_the_same_optima(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each on samples of its own, so that none can stand for another."""
    values, labels = map(torch.from_numpy, _points())
    weights = (torch.arange(80)[:, None] % 5 != torch.arange(5)).float()
    whole = fit_heads(values, labels, weights, penalty=0.1, classes=3)
    monkeypatch.setattr(fitting, "_WEIGHTS_AT_ONCE", 2 * 6 * 3)  # two heads, and one at the end
    some = fit_heads(values, labels, weights, penalty=0.1, classes=3)
    torch.testing.assert_close(some, whole, atol=1e-2, rtol=1e-2)
    alone = fit_heads(values, labels, weights[:, :2], penalty=0.1, classes=3)
    assert torch.equal(some[:2], alone)


@pytest.mark.trains
def test_a_head_on_raw_features_says_what_it_said_on_standardised_ones() -> None:
    values, labels = _points()
    raw = values * np.array([100, 1, 0.01, 3, 0], np.float32) + 7  # the last one is constant
    standardised = Standardised.of(raw)
    weights = fit_heads(
        standardised.values, torch.from_numpy(labels), torch.ones(80, 1), penalty=0.1, classes=3
    )
    ours = standardised.values @ weights[0][:-1] + weights[0][-1]
    assert np.allclose(standardised.head(weights[0]).logits(raw), ours.numpy(), atol=1e-3)


@pytest.mark.trains
def test_what_is_held_out_has_no_say() -> None:
    """Labels of held-out samples may be anything: their logits do not move."""
    values, labels = _points()
    standardised = Standardised.of(values)
    fold = folds(labels, count=4, rng=np.random.default_rng(shifted(1)))
    held = fold[:, None] == np.arange(4)

    def first(changed: np.ndarray) -> np.ndarray:
        logits: np.ndarray = held_out_logits(
            standardised, changed, np.ones((80, 4)), held=held, penalty=0.1, classes=3
        )
        return np.asarray(logits[fold == 0])

    other = np.where(fold == 0, (labels + 1) % 3, labels)
    assert np.allclose(first(labels), first(other), atol=1e-2)  # the solver's accuracy: heads share its steps


def _folds_of_samples(strata: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The folds of a set without copies."""
    assigned = np.empty(len(strata), np.int64)
    for stratum in np.unique(strata):
        rows = rng.permutation(np.flatnonzero(strata == stratum))
        assigned[rows] = (np.arange(len(rows)) + rng.integers(count)) % count
    return assigned


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=50),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_folds_without_copies_are_what_they_are_without_pictures(
    labels: list[int], count: int, seed: int
) -> None:
    """Whatever numbers the pictures have: measured figures stay."""
    strata, pictures = np.array(labels), np.random.default_rng(seed).permutation(len(labels)) + 7
    expected = _folds_of_samples(strata, count, np.random.default_rng(seed))
    assert np.array_equal(folds(strata, count=count, rng=np.random.default_rng(seed)), expected)
    fold_of = folds(strata, count=count, rng=np.random.default_rng(seed), clusters=pictures)
    assert np.array_equal(fold_of, expected)


@settings(max_examples=50, deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=1, max_size=60),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_copies_share_a_fold_and_pictures_are_spread(
    samples: list[tuple[int, int]], count: int, seed: int
) -> None:
    strata, number = (np.array(column) for column in zip(*samples, strict=True))
    pictures = 10 * strata + number
    fold_of = folds(strata, count=count, rng=np.random.default_rng(seed), clusters=pictures)
    for stratum in np.unique(strata):
        mine = np.unique(np.stack([pictures, fold_of])[:, strata == stratum], axis=1)  # (2, pictures)
        assert len(np.unique(mine[0])) == mine.shape[1]
        sizes = np.bincount(mine[1], minlength=count)
        assert (len(sizes), sizes.max() - sizes.min() <= 1) == (count, True)


@settings(max_examples=50, deadline=None)
@given(
    both=st.integers(0, 12),
    alone=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_pictures_under_two_labels_share_a_fold_and_are_spread_in_both(
    both: int, alone: tuple[int, int], count: int, seed: int
) -> None:
    first, second = np.arange(both + alone[0]), np.append(np.arange(both), 50 + np.arange(alone[1]))
    pictures, strata = np.append(first, second), np.repeat([0, 1], [len(first), len(second)])
    order = np.random.default_rng(seed).permutation(len(strata))
    pictures, strata = pictures[order], strata[order]
    fold_of = folds(strata, count=count, rng=np.random.default_rng(seed), clusters=pictures)
    assert len(np.unique(np.stack([pictures, fold_of]), axis=1)[0]) == len(np.unique(pictures))
    for stratum in np.unique(strata):
        sizes = np.bincount(fold_of[strata == stratum], minlength=count)
        assert sizes.max() - sizes.min() <= 1


@settings(max_examples=50, deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=60),
    count=st.integers(2, 5),
    seed=st.integers(0, 99),
)
def test_a_fold_never_cuts_a_cluster(samples: list[tuple[int, int]], count: int, seed: int) -> None:
    """Also where its samples are of several strata, as a patient's are."""
    strata, clusters = (np.array(column) for column in zip(*samples, strict=True))
    fold_of = folds(strata, count=count, rng=np.random.default_rng(seed), clusters=clusters)
    assert (fold_of >= 0).all()
    assert (fold_of < count).all()
    assert all(len(np.unique(fold_of[clusters == cluster])) == 1 for cluster in clusters)


@pytest.mark.trains
def test_a_head_that_was_fitted_to_nothing_says_nothing() -> None:
    """As where all pictures of a tiny set are in one fold: its neighbours do not suffer."""
    values, labels = map(torch.from_numpy, _points())
    weights = torch.stack([torch.ones(80), torch.zeros(80)], 1)
    heads, nothing = fit_heads(values, labels, weights, penalty=0.1, classes=3)
    assert (nothing == 0).all()
    (alone,) = fit_heads(values, labels, weights[:, :1], penalty=0.1, classes=3)
    torch.testing.assert_close(heads, alone, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_no_head_could_be_fitted_to_are_refused(value: float) -> None:
    values, _ = _points()
    values[3, 1] = value
    with pytest.raises(HeadError, match="use another model"):
        Standardised.of(values)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), min_size=1, max_size=40))
def test_classes_weigh_alike_and_groups_inside_them(samples: list[tuple[int, int, bool]]) -> None:
    labels, parts, is_used = (np.array(column) for column in zip(*samples, strict=True))
    groups = labels * 4 + parts
    weights = balanced_weights(labels, groups, is_used)
    assert (weights[~is_used] == 0).all()
    for label in np.unique(labels[is_used]):
        inside = [
            weights[is_used & (groups == g)].sum() for g in np.unique(groups[is_used & (labels == label)])
        ]
        assert np.isclose(sum(inside), 1)
        assert np.allclose(inside, inside[0])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1)), min_size=1, max_size=40))
def test_a_sample_weighs_in_each_group_as_much_as_it_belongs_there(samples: list[tuple[int, float]]) -> None:
    labels = np.array([label for label, _ in samples])
    doubt = np.array([doubt for _, doubt in samples])
    members = np.zeros((len(labels), 6))
    members[np.arange(len(labels)), labels * 2], members[np.arange(len(labels)), labels * 2 + 1] = (
        1 - doubt,
        doubt,
    )
    weights = group_weights(labels, members)
    assert np.isclose(weights.sum(), len(np.unique(labels)))
    for group in np.flatnonzero(members.sum(0)):
        mine = labels == group // 2
        sides = (members[mine].sum(0) > 0).sum()
        assert np.allclose(weights[:, group], members[:, group] / (sides * members[:, group].sum()))


@pytest.mark.trains
def test_features_are_what_the_last_layer_sees_and_install_puts_a_head_there(
    make_store: StoreFactory,
) -> None:
    store = make_store()
    network = build_network("small_cnn", classes=2, image_size=16, seed=shifted(0))
    loader = make_loader(store, store.rows("train"), LoaderSettings(16, 8), RUN)
    features = compute_features(network, loader, RUN)
    layer = network.classifier
    logits = torch.from_numpy(features.values) @ layer.weight.detach().T
    assert layer.bias is not None
    assert np.allclose(logits + layer.bias.detach(), features.logits, atol=1e-5)
    assert features.rows.tolist() == store.rows("train").tolist()

    standardised = Standardised.of(features.values)
    weights = fit_heads(
        standardised.values, torch.from_numpy(features.labels), torch.ones(24, 1), penalty=1.0, classes=2
    )
    head = standardised.head(weights[0])
    before = {name: t.clone() for name, t in network.model.state_dict().items()}
    install_head(network, head)
    of_loader = compute_features(network, loader, RUN)
    assert np.allclose(of_loader.logits, head.logits(features.values), atol=1e-4)
    changed = [name for name, t in network.model.state_dict().items() if not torch.equal(t, before[name])]
    assert changed == ["fc.weight", "fc.bias"]
    with pytest.raises(HeadError, match="does not fit"):
        install_head(build_network("small_cnn", classes=3, image_size=16), head)


def test_what_is_no_linear_head_is_refused(make_store: StoreFactory) -> None:
    store = make_store(side=32)
    network = build_network("torchvision/squeezenet1_1", classes=2, image_size=64)
    loader = make_loader(store, store.rows("val"), LoaderSettings(64, 8), RUN)
    with pytest.raises(HeadError, match="another backbone"):
        compute_features(network, loader, RUN)


def test_a_network_that_sums_several_last_layers_is_refused() -> None:
    """Its logits are the sum of both: a head fitted to one of them would not be what is served."""
    network = build_network("timm/deit_tiny_distilled_patch16_224", classes=2, image_size=32)
    with pytest.raises(HeadError, match="several last layers"):
        linear_layer(network)
