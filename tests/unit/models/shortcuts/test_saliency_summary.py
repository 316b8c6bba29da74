"""Shares of saliency, what moved, the pictures that a rule picks, and what masks cost a model that cheats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from masktune.contract.hyperparameters import MaskingConfig
from masktune.contract.report import saliency as section
from masktune.contract.report.saliency import SaliencyShifts
from masktune.contract.report.shortcut import MaskingCost
from models.backbones.build import build_network
from models.backbones.network import Network
from models.evaluation.metrics import Names
from models.masking.compute import predict_with_maps
from models.masking.rule import apply_masks, masks_of
from models.run import Run
from models.saliency import saliency
from models.shortcuts.masking_cost import MaskedPredictions, masking_cost, predict_under_masks, shifted
from models.shortcuts.saliency_summary import (
    RULE_SENTENCES,
    RULES,
    PairedMaps,
    mean_interval,
    mean_maps,
    saliency_shift,
    saliency_shifts,
    select,
    shares,
)
from tests.support.batches import Batches, noise

Maps = NDArray[np.float32]


def spots(*places: tuple[int, int] | None, size: int = 4) -> Maps:
    """One map each, with all its mass at a place; None: a map of zeros."""
    maps = np.zeros((len(places), size, size), np.float32)
    for index, place in enumerate(places):
        if place is not None:
            maps[(index, *place)] = index + 1
    return maps


def random_maps(seed: int, n: int = 6) -> Maps:
    return np.random.default_rng(seed).gamma(0.5, size=(n, 5, 7)).astype(np.float32)


# maps


def test_shares_sum_to_one_and_say_nothing_where_there_is_nothing() -> None:
    maps = np.concatenate([random_maps(0, 3), np.zeros((1, 5, 7)), np.full((1, 5, 7), np.inf)]).astype("f4")
    found = shares(maps)
    assert found[:3].sum((1, 2)) == pytest.approx(1)
    assert np.isnan(found[3:]).all()


@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_a_saliency_shift_is_a_distance_that_no_scale_changes(seed: int, scale: float) -> None:
    a, b, c = (random_maps(seed + i) for i in range(3))
    assert saliency_shift(a, a * np.float32(scale)) == pytest.approx(0, abs=1e-6)
    assert np.array_equal(saliency_shift(a, b), saliency_shift(b, a))
    assert (saliency_shift(a, c) <= saliency_shift(a, b) + saliency_shift(b, c) + 1e-9).all()
    assert (saliency_shift(a, b) <= 1).all()


def test_a_saliency_shift_is_the_mass_that_must_be_carried() -> None:
    before, after = spots((0, 0), (1, 1), None), spots((0, 0), (2, 2), (0, 0))
    half = before.copy()
    half[0, 3, 3] = half[0, 0, 0]
    assert saliency_shift(before, after)[:2].tolist() == [0, 1]
    assert np.isnan(saliency_shift(before, after)[2])
    assert saliency_shift(before, half)[0] == 0.5
    with pytest.raises(ValueError, match="same images"):
        saliency_shift(before, after[:, :3])


def test_movement_counts_what_it_leaves_out() -> None:
    before, after = spots((0, 0), (1, 1), None, (0, 0)), spots((0, 0), (2, 2), (0, 0), (3, 3))
    found = saliency_shifts(before, after, np.array([0, 0, 1, 1]), classes=("a", "b", "c"))
    assert (found.all.n, found.all.undefined) == (3, 1)
    assert found.all.mean == pytest.approx(2 / 3)
    assert [(c.name, c.n, c.undefined, c.mean) for c in found.classes] == [
        ("a", 2, 0, 0.5),
        ("b", 1, 1, 1.0),
        ("c", 0, 0, None),
    ]
    assert SaliencyShifts.model_validate(found).all.quartiles == (0.5, 1, 1)


def test_the_interval_of_a_mean_holds_its_confidence() -> None:
    rng = np.random.default_rng(0)
    held = [
        low <= 0.25 <= high for low, high in (mean_interval(rng.beta(1, 3, size=12)) for _ in range(1500))
    ]
    assert 0.92 <= np.mean(held) <= 0.97
    assert mean_interval(np.array([0.4])) == (0, 1)


def test_a_mean_map_is_the_mean_of_shares_in_its_class() -> None:
    maps = spots((0, 0), (0, 1), None, (2, 2))
    first, second, third = mean_maps(maps, np.array([0, 0, 0, 1]), classes=("a", "b", "c"))
    assert (first.n, first.undefined) == (2, 1)
    assert first.map is not None
    assert first.map[0][:2] == [0.5, 0.5]  # though the second map has twice the mass
    assert np.sum(first.map) == pytest.approx(1)
    assert first.error is not None
    assert first.error[0][0] == pytest.approx(0.5)
    assert (second.n, second.error, third.n, third.map) == (1, None, 0, None)
    assert [section.MeanMap.model_validate(m).n for m in (first, second, third)] == [
        m.n for m in (first, second, third)
    ]


# the gallery


def pair() -> PairedMaps:
    nan = np.nan
    return PairedMaps(
        rows=np.array([50, 40, 30, 20, 10]),
        masked=np.array([0.1, 0.3, 0.0, 0.3, 0.2]),
        shift=np.array([0.5, nan, 0.9, 0.5, 0.0]),
        before=np.array([0, 0, 1, 1, 0]),
        after=np.array([0, 1, 0, 0, 1]),
    )


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        ("most_masked", [20, 40, 10, 50]),  # a tie by row; nothing masked is never shown
        ("most_changed", [30, 20, 50]),  # what has no map, or did not move, is never shown
        ("disagreeing", [30, 20, 10, 40]),  # most moved first; the one without a map last
    ],
)
def test_a_rule_decides_the_gallery(rule: str, rows: list[int]) -> None:
    assert next(select(name, pair()) for name in RULES if name == rule) == rows
    assert set(RULE_SENTENCES) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_the_order_of_the_images_selects_no_others(rule: str) -> None:
    order = np.random.default_rng(0).permutation(5)
    given = pair()
    shuffled = given._replace(**{name: column[order] for name, column in given._asdict().items()})
    name = next(r for r in RULES if r == rule)
    assert select(name, shuffled) == select(name, pair())


# the cost of masks


def test_a_shifted_mask_has_its_size_and_shape_and_depends_on_the_row_alone() -> None:
    masked = torch.rand(5, 6, 9, generator=torch.Generator().manual_seed(0)) > 0.7
    rows = torch.tensor([3, 0, 99, 7, 12])
    together = shifted(masked, rows, seed=1)
    assert together.sum((1, 2)).tolist() == masked.sum((1, 2)).tolist()
    for index in range(5):
        picked = slice(index, index + 1)
        assert torch.equal(shifted(masked[picked], rows[picked], seed=1)[0], together[index])
        steps = [
            (y, x)
            for y in range(6)
            for x in range(9)
            if torch.equal(masked[index].roll((y, x), (0, 1)), together[index])
        ]
        assert len(steps) == 1
        assert steps != [(0, 0)]


class Cheater(nn.Module):
    """Says 1 where the upper left pixel of the activation is lit: a network that took a shortcut."""

    linear = None
    head_layers = None
    spatial_channels = 1

    def features(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images[:, :1], 4)

    def head(self, activation: Tensor) -> Tensor:
        corner = activation[:, 0, 0, 0]
        return torch.stack([0.3 + 0 * corner, corner], 1) + 1e-3 * activation.sum((1, 2, 3))[:, None]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def batches(images: int, batch: int) -> Batches:
    """Grey noise, a bright corner on the images of class 1; `batch` at a time."""
    pixels = noise(images) * 0.2
    pixels[1::2, :, :4, :4] = 1.0
    return Batches(pixels, batch)


def answers_under_masks(network: Network, loader: Batches, config: MaskingConfig) -> MaskedPredictions:
    run = Run(seed=3)
    plain = predict_with_maps([network], loader, config, run)
    (answers,) = predict_under_masks([network], loader, plain, config, run)
    return answers


def test_a_shortcut_is_a_small_mask_that_costs_much() -> None:
    answers = answers_under_masks(Cheater(), batches(40, 16), MaskingConfig(method="hirescam"))  # type: ignore[arg-type]  # a network in all but its base class
    cost = masking_cost(
        answers,
        generator=np.random.default_rng(0),
        groups=np.where(np.arange(40) % 4 == 0, -1, np.arange(40) % 2),
        names=Names(("dark", "lit"), ("g", "h")),
    )
    plain, own, elsewhere = cost.arms
    assert (plain.correct, own.correct, own.changed) == (40, 20, 20)
    assert elsewhere.changed <= 4  # where it came back to the corner
    assert cost.masked_share < 0.1
    assert cost.cost.estimate == 0.5
    assert cost.beyond_elsewhere.low > 0.2
    assert cost.changes_beyond_elsewhere.low > 0.2
    assert [(c.name, c.n, c.arms[1].correct) for c in cost.classes] == [("dark", 20, 20), ("lit", 20, 0)]
    assert [(c.name, c.n) for c in cost.groups] == [("g", 10), ("h", 20)]
    assert "from 100.0 % to 50.0 %" in cost.sentence
    assert MaskingCost.model_validate(cost).cost.estimate == 0.5


def test_an_answer_that_is_no_number_is_not_right_under_any_mask() -> None:
    broken = build_network("small_cnn", classes=2, image_size=16, seed=5)
    with torch.no_grad():
        broken.classifier.weight[0] = float("nan")  # the class that argmax would name
    answers = answers_under_masks(broken, batches(8, 4), MaskingConfig())
    cost = masking_cost(answers, generator=np.random.default_rng(0))
    assert [(arm.correct, arm.changed) for arm in cost.arms] == [(0, 0)] * 3


@pytest.fixture(scope="module")
def network() -> Network:
    return build_network("small_cnn", classes=2, image_size=16, seed=5)


def test_the_mask_is_the_one_that_training_would_use_in_any_batch(network: Network) -> None:
    config = MaskingConfig(fill="mean")
    one, many = (answers_under_masks(network, batches(11, b), config) for b in (11, 3))
    for a, b in zip(one, many, strict=True):
        assert np.array_equal(a, b)
    pixels = batches(11, 11).pixels
    network.eval()
    found = saliency(network, pixels)
    own = masks_of(found.maps, (16, 16))
    assert one.masked.tolist() == (own.float().mean((1, 2))).tolist()
    assert one.plain.tolist() == found.logits.argmax(1).tolist()
    with torch.no_grad():
        assert one.own.tolist() == network(apply_masks(pixels, own, "mean")).argmax(1).tolist()


def test_without_an_image_there_is_no_cost() -> None:
    none = np.zeros(0, np.int64)
    with pytest.raises(ValueError, match="no image"):
        masking_cost(
            MaskedPredictions(none, none, none.astype(float), none, none, none),
            generator=np.random.default_rng(0),
        )
