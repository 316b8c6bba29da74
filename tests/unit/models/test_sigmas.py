"""The size of masks is read from the accuracy under them, ever larger ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig
from models.backbones.build import build_network
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.masking.summaries import BalancedAccuracy, DeletionPoint, SigmasChoice
from models.run import Run
from models.sigmas import (
    FEWEST_IMAGES,
    LARGEST_MASK,
    balanced_accuracy,
    choose_sigmas,
    fix_sigmas,
)
from tests.support.arrays import Arrays, write_arrays

PLAIN = 0.98


def accuracy(share: float) -> BalancedAccuracy:
    return BalancedAccuracy(share, share - 0.02, share + 0.02)


def choose(*points: tuple[float, float, float, float]) -> SigmasChoice:
    """Choose from (sigmas, masked share, accuracy under the own mask, and under the mask elsewhere)."""
    curve = [
        DeletionPoint(sigmas, masked, accuracy(own), accuracy(elsewhere))
        for sigmas, masked, own, elsewhere in points
    ]
    return choose_sigmas(curve, plain=accuracy(PLAIN), n=400)


def test_masks_stop_growing_where_they_cost_the_model_no_more() -> None:
    choice = choose((2, 0.04, 0.57, 0.97), (1, 0.10, 0.56, 0.96), (0, 0.20, 0.56, 0.955), (-1, 0.4, 0.5, 0.8))
    assert (choice.sigmas, choice.reason, choice.n, len(choice.curve)) == (2, "plateau", 400, 4)
    assert choice.iterations == 1


def test_masks_grow_while_they_cost_the_model_more() -> None:
    choice = choose(
        (2, 0.03, 0.93, 0.97), (1, 0.12, 0.87, 0.96), (0.5, 0.22, 0.75, 0.96), (0, 0.4, 0.6, 0.96)
    )
    assert (choice.sigmas, choice.reason) == (0.5, "limit")


def test_images_are_masked_again_where_no_mask_is_known_to_hide_all_that_the_model_uses() -> None:
    assert choose((2, 0.03, 0.93, 0.97), (1, 0.4, 0.6, 0.96)).iterations == 3


def test_masks_stop_growing_where_their_size_alone_costs_too_much() -> None:
    choice = choose((1.5, 0.05, 0.9, 0.97), (1, 0.15, 0.8, 0.94), (0.5, 0.2, 0.7, 0.96))
    assert (choice.sigmas, choice.reason) == (1.5, "limit")


@pytest.mark.parametrize(
    "point",
    [
        (1.5, 0.05, 0.97, 0.98),  # costs nothing for certain
        (1.5, LARGEST_MASK + 0.01, 0.50, 0.97),
        (1.5, 0.05, 0.50, 0.90),
    ],
)
def test_without_an_allowed_mask_the_papers_threshold_is_kept(
    point: tuple[float, float, float, float],
) -> None:
    choice = choose(point)
    assert (choice.sigmas, choice.reason) == (2.0, "unspecific")


def test_a_constant_answer_is_right_for_one_class_in_all() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    measured = balanced_accuracy(np.zeros(100, np.int64), labels)
    assert measured.accuracy == 0.5
    assert measured.low < 0.5 < measured.high


def store(folder: Path, *, val: int) -> Store:
    """Images of which class 1 has a white corner, and nothing else to tell it by."""
    rng = np.random.default_rng(0)
    labels = np.arange(8 + val) % 2
    images = rng.integers(0, 60, (8 + val, 16, 16, 3), np.uint8)
    images[labels == 1, :4, :4] = 255
    arrays = Arrays(images, labels, ["train"] * 8 + ["val"] * val)
    return write_arrays(folder / "ds", arrays, DatasetInfo("corners", "image_folder", ("a", "b")))


CONFIG = Hyperparameters(image_size=16, masking=MaskingConfig(sigmas="auto"))


def test_with_too_few_images_nothing_is_measured(tmp_path: Path) -> None:
    network = build_network("small_cnn", classes=2, image_size=16)
    config, choice = fix_sigmas(network, store(tmp_path, val=FEWEST_IMAGES - 1), CONFIG, Run())
    assert config.masking.sigmas == 2.0
    assert choice == SigmasChoice(2.0, "too_few_images", FEWEST_IMAGES - 1)


def test_the_same_model_gives_the_same_choice_and_keeps_its_mode(tmp_path: Path) -> None:
    data, network = store(tmp_path, val=FEWEST_IMAGES), build_network("small_cnn", classes=2, image_size=16)
    network.train()
    config, choice = fix_sigmas(network, data, CONFIG, Run())
    assert network.training
    assert choice is not None
    assert choice.plain is not None
    assert config.masking.fixed_sigmas == choice.sigmas
    assert [point.sigmas for point in choice.curve] == sorted((p.sigmas for p in choice.curve), reverse=True)
    assert fix_sigmas(network, data, CONFIG, Run()) == (config, choice)


@pytest.mark.parametrize("masking", [MaskingConfig(sigmas=1.0), MaskingConfig(sigmas="auto", share=0.1)])
def test_a_number_or_a_share_leaves_nothing_to_choose(tmp_path: Path, masking: MaskingConfig) -> None:
    network = build_network("small_cnn", classes=2, image_size=16)
    config = replace(CONFIG, masking=masking)
    fixed, choice = fix_sigmas(network, store(tmp_path, val=2), config, Run())
    assert choice is None
    assert fixed == replace(config, masking=masking.with_chosen(None))
