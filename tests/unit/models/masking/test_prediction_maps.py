"""Networks that share a backbone are run together, and answer as each would alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from masktune.contract.hyperparameters import MaskingConfig
from models.backbones.build import build_network
from models.backbones.network import Network
from models.masking.compute import predict_with_maps
from models.run import Run
from tests.support.batches import Batches, noise

CONFIG = MaskingConfig(sigmas=1.0)
LOADER = Batches(noise(10), 4, rows=10 + 2 * torch.arange(10))


@pytest.fixture
def networks() -> list[Network]:
    """Two with different last layers on one backbone."""
    first = build_network("small_cnn", classes=3, image_size=16, seed=5)
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.classifier.weight.neg_()
    return [first, second]


def test_networks_answer_together_as_each_does_alone(networks: list[Network]) -> None:
    together = predict_with_maps(networks, LOADER, CONFIG, Run())
    for network, shared in zip(networks, together, strict=True):
        (alone,) = predict_with_maps([network], LOADER, CONFIG, Run())
        for here, there in zip(shared, alone, strict=True):
            np.testing.assert_array_equal(here, there)
    assert not np.array_equal(together[0].maps, together[1].maps)


def test_the_backbone_runs_once_for_all_networks(networks: list[Network]) -> None:
    passes: list[int] = []
    for network in networks:
        network.model.get_submodule("block1").register_forward_hook(lambda *_: passes.append(1))
    predict_with_maps(networks, LOADER, CONFIG, Run())
    assert len(passes) == len(LOADER)


def test_rows_are_selected_with_what_belongs_to_them(networks: list[Network]) -> None:
    (maps, _) = predict_with_maps(networks, LOADER, CONFIG, Run())
    some = maps.at(np.array([12, 20]))
    np.testing.assert_array_equal(some.maps, maps.maps[[1, 5]])
    np.testing.assert_array_equal(some.masked, maps.masked[[1, 5]])


def test_an_answer_that_is_no_number_is_no_class(networks: list[Network]) -> None:
    with torch.no_grad():
        networks[0].classifier.weight[0] = float("nan")
    broken, sound = predict_with_maps(networks, LOADER, CONFIG, Run())
    assert set(broken.predicted) == {-1}
    assert np.isnan(broken.probabilities).all()
    assert np.isfinite(sound.probabilities).all()
