"""A frozen backbone sees each image once, and only the last layer is trained on what it gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.hyperparameters.parameters import ConfigError
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.loading.loaders import train_loader
from models.inputs import split_features
from models.masktune import fit_erm, masktune
from models.mitigation.features import HeadError
from models.run import Run, Stopped
from models.training.checkpoints import CheckpointFolder, weights_digest
from models.training.frozen import FeatureLoader, backbone_digest
from tests.integration.models.training.test_fit import StopAfter
from tests.support.seeds import shifted
from tests.unit.models.conftest import StoreFactory

CONFIG = Hyperparameters(
    seed=shifted(0),
    backbone="resnet32",
    pretrained="mdl_1",
    freeze_backbone=True,
    image_size=16,
    batch_size=8,
    epochs=3,
)
RUN = Run(seed=shifted(0))


def _network() -> Network:
    return build_network("resnet32", classes=2, image_size=16, seed=shifted(0))


class _Images:
    """Counts the images that pass through a network's backbone."""

    def __init__(self, network: Network) -> None:
        self.count = 0
        network.model.get_submodule("conv1").register_forward_pre_hook(self._add)

    def _add(self, _: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        self.count += len(args[0])


@pytest.mark.trains
def test_frozen_erm_runs_the_backbone_once_per_image(make_store: StoreFactory, tmp_path: Path) -> None:
    network, store = _network(), make_store()
    images = _Images(network)
    fit_erm(network, store, CONFIG, RUN, folder=tmp_path)
    assert images.count == len(store.rows("train")) + len(store.rows("val"))


@pytest.mark.trains
def test_only_the_last_layer_changes(make_store: StoreFactory, tmp_path: Path) -> None:
    """Batch norm's running statistics included: they are not parameters, and would move in train mode."""
    network = _network()
    before = {name: tensor.clone() for name, tensor in network.model.state_dict().items()}
    digest = backbone_digest(network)
    fit_erm(network, make_store(), CONFIG, RUN, folder=tmp_path)
    changed = {name for name, t in network.model.state_dict().items() if not torch.equal(t, before[name])}
    assert changed == {"fc.weight", "fc.bias"}
    assert set(CheckpointFolder(tmp_path).last().weights) == {"fc.weight", "fc.bias"}
    assert (
        backbone_digest(network)
        == digest
        != backbone_digest(build_network("resnet32", classes=2, image_size=24))
    )


@pytest.mark.trains
def test_a_resumed_frozen_training_ends_with_the_same_bits(make_store: StoreFactory, tmp_path: Path) -> None:
    store = make_store()
    straight = fit_erm(_network(), store, CONFIG, RUN, folder=tmp_path / "straight")
    with pytest.raises(Stopped):
        fit_erm(
            _network(), store, CONFIG, Run(seed=shifted(0), should_stop=StopAfter(9)), folder=tmp_path / "cut"
        )
    assert CheckpointFolder(tmp_path / "cut").epochs()  # it was cut between two epochs
    assert fit_erm(_network(), store, CONFIG, RUN, folder=tmp_path / "cut").digest == straight.digest


def test_batches_of_features_come_in_the_order_of_batches_of_images(make_store: StoreFactory) -> None:
    network, store = _network(), make_store()
    values, rows = split_features(network, store, CONFIG, RUN, "train"), store.rows("train")
    features = FeatureLoader(values, store.labels[rows], rows, batch_size=8, run=RUN)
    images = train_loader(store, CONFIG, RUN)
    assert (features.images, len(features)) == (images.images, len(images))
    pairs = zip(features.epoch(RUN.generator("erm")), images.epoch(RUN.generator("erm")), strict=True)
    for of_features, of_images in pairs:
        assert torch.equal(of_features.rows, of_images.rows)
        assert torch.equal(of_features.labels, of_images.labels)
        with torch.no_grad():
            expected = network(of_images.images)
            torch.testing.assert_close(network.classifier(of_features.images), expected)


@pytest.mark.trains
def test_masktune_sees_masked_features_and_its_control_none(make_store: StoreFactory, tmp_path: Path) -> None:
    network, store = _network(), make_store()
    images, below = _Images(network), backbone_digest(network)
    result = masktune(network, store, CONFIG, RUN, folder=tmp_path)
    train, val, test = (len(store.rows(split)) for split in ("train", "val", "test"))
    # ERM: train and val. Then the masks, the masked images, and three evaluations of val and test.
    assert images.count == (train + val) + train + train + 3 * (val + test)
    assert backbone_digest(network) == below
    digests = {arm: one.fit.digest for arm, one in result.arms.items()}
    assert len(set(digests.values())) == 3
    assert digests["control"] == weights_digest(network.model)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"augmentation": "flip"}, "/augmentation"),
        ({"pretrained": False}, "/freeze_backbone"),
    ],
)
def test_what_a_frozen_backbone_excludes_is_refused(changes: dict[str, object], pointer: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Hyperparameters.from_json(CONFIG.to_json() | changes)
    assert refused.value.pointer == pointer


def test_a_network_whose_last_layer_is_no_linear_one_is_refused(make_store: StoreFactory) -> None:
    network = build_network("squeezenet1_1", classes=2, image_size=64)
    with pytest.raises(HeadError, match="does not end in a linear layer"):
        split_features(network, make_store(side=64), CONFIG, RUN, "train")
