"""The methods by name: the network that each leaves, a note of what it saw, and what its paper publishes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from masktune.contract.hyperparameters import HeadConfig
from models.backbones.network import Network
from models.data.loading.batches import Batch
from models.data.loading.loaders import evaluation_loader, train_loader
from models.masking.compute import load_or_compute_masks
from models.masktune import continue_as_control, finetune_on_masks, fit_erm
from models.mitigation.finder import infer_minority
from models.mitigation.groups import class_groups
from models.mitigation.retrain import retrain_head
from models.mitigation.stage_features import StageFeatures, compute_stage_features
from models.training.checkpoints import CheckpointFolder
from models.training.optim import Adam
from research.rivals.methods import Published
from research.whole_networks.objectives import balanced_positions, conditional_information, conflicting
from research.whole_networks.sets import Experiment
from research.whole_networks.training import cross_entropy, losses, saved, sharp_step, train

_RADIUS = 0.05  # of SAM
_CMID_STRENGTH, _CMID_GROWTH = 20.0, 4.0
_SIMPLE_EPOCHS, _SIMPLE_RATE, _SIMPLE_DECAY = 2, 1e-3, 1e-4
_HEAD = HeadConfig()
DEFAULT = "erm, inferred groups"


class Trained(NamedTuple):
    """`note` says what the method saw, without groups: masks, mistakes, clusters."""

    network: Network
    note: str = ""


def erm(experiment: Experiment) -> Trained:
    network = experiment.new_network()
    inputs = experiment.store, experiment.config, experiment.run
    fit_erm(network, *inputs, folder=experiment.folder / "erm")
    return Trained(network)


def control(experiment: Experiment) -> Trained:
    """ERM continued for as many epochs as the finetune has."""
    network, folder = erm(experiment).network, experiment.folder
    inputs = experiment.store, experiment.config, experiment.run
    start = CheckpointFolder(folder / "erm").last()
    continue_as_control(network, *inputs, folder=folder / "control", start=start)
    return Trained(network)


def masktune(experiment: Experiment) -> Trained:
    """The paper's: masks of two standard deviations, once; finetuned from ERM's last epoch."""
    network, folder = erm(experiment).network, experiment.folder
    inputs = experiment.store, experiment.config, experiment.run
    masks = load_or_compute_masks(network, *inputs, folder=folder / "masks")
    start = CheckpointFolder(folder / "erm").last()
    finetune_on_masks(network, *inputs, folder=folder / "masktune", start=start, masks=masks)
    return Trained(
        network, f"{masks.nothing_masked} of {len(masks)} masks empty, {masks.masked_share:.1%} masked"
    )


def sam(experiment: Experiment) -> Trained:
    """Sharpness-aware minimisation (Foret et al. 2021) for half the epochs: its step takes two gradients."""
    made = partial(train, experiment, "sam", epochs=experiment.epochs // 2, step=sharp_step(_RADIUS))
    return Trained(saved(experiment, "sam", made))


def plain_head(base: Callable[[Experiment], Trained], experiment: Experiment) -> Trained:
    """The last layer fitted anew, balanced over the classes."""
    network, features = _with_features(base, experiment)
    groups = class_groups(features.last.labels, experiment.store.classes)
    retrain_head(network, features.last, groups, _HEAD, seed=experiment.run.seed)
    return Trained(network)


def inferred_head(base: Callable[[Experiment], Trained], experiment: Experiment) -> Trained:
    """The last layer fitted anew, balanced over the groups that the network's early stages tell."""
    network, features = _with_features(base, experiment)
    seed, classes = experiment.run.seed, experiment.store.classes
    minority = infer_minority(features, _HEAD, classes=classes, seed=seed)
    retrain_head(network, features.last, minority.groups, _HEAD, seed=seed)
    return Trained(network, f"{minority.reason}: {dict(minority.groups.counts)}")


def _with_features(
    base: Callable[[Experiment], Trained], experiment: Experiment
) -> tuple[Network, StageFeatures]:
    store, config, run = experiment.store, experiment.config, experiment.run
    network = base(experiment).network
    loader = evaluation_loader(store, store.rows("train"), config, run)
    return network, compute_stage_features(network, loader, run)


def tab(experiment: Experiment) -> Trained:
    """TAB (Zarlenga et al. 2024): a new network on a set in which two clusters of loss histories are equal.

    A helper, trained as ERM is, gives each image a loss after each epoch; in each class k-means makes two
    clusters, and every cluster is drawn as often as the largest of all. It has no hyperparameter and chooses
    nothing. Its code was not to be had: the losses are those after an epoch, in evaluation mode; an image is
    repeated as it is, where the paper augments it, since these sets have no augmentation; the new network
    has as many steps as the others, and the helper's come on top.
    """
    history: list[NDArray[np.float32]] = []
    train(
        experiment,
        "helper",
        epochs=experiment.config.epochs,
        after_epoch=lambda network: history.append(losses(network, experiment)),
    )
    rows = experiment.store.rows("train")
    labels = experiment.store.labels[rows]
    named = conflicting(np.stack(history, 1), labels, seed=experiment.run.seed)
    positions = balanced_positions(labels * 2 + named, np.random.default_rng([experiment.run.seed, 41]))
    network = train(experiment, "tab", epochs=experiment.epochs, rows=rows[positions])
    return Trained(network, f"{int(named.sum())} of {len(rows)} in the clusters of the higher loss")


def cmid(experiment: Experiment) -> Trained:
    """CMID (Vasudeva et al. 2023): a penalty on the information that a simple model's predictions give about
    the network's, given the label.

    The released code's penalty, its strength for Waterbirds, 20 · (1 + epoch / 4), and its recipe for the
    simple model, Adam at 1e-3 with weight decay 1e-4. Published: a convolution network of two layers for
    photographs. Here: the released code's other choice, a linear model of the pixels, since digits of 28 px
    are no harder for two convolutions than the shortcut is.
    """
    simple = _simple_model(experiment)

    def penalised(network: nn.Module, batch: Batch, epoch: int) -> Tensor:
        logits = network(batch.images)
        with torch.no_grad():
            simple_probabilities = simple(batch.images).softmax(1)
        penalty = conditional_information(logits.softmax(1), simple_probabilities, batch.labels)
        strength = _CMID_STRENGTH * (1 + epoch / _CMID_GROWTH)
        return F.cross_entropy(logits, batch.labels) + strength * penalty

    return Trained(train(experiment, "cmid", epochs=experiment.epochs, loss=penalised))


def _simple_model(experiment: Experiment) -> nn.Module:
    store, config, run = experiment.store, experiment.config, experiment.run
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        layer = nn.Linear(3 * config.image_size**2, len(store.classes))
    model = nn.Sequential(nn.Flatten(), layer)
    optimizer = Adam(model.parameters(), lr=_SIMPLE_RATE, weight_decay=_SIMPLE_DECAY)
    loader = train_loader(store, config, run)
    for epoch in range(_SIMPLE_EPOCHS):
        for batch in loader.epoch(run.generator("simple", epoch)):
            optimizer.zero_grad()
            torch.autograd.backward(cross_entropy(model, batch, epoch))
            optimizer.step()
    return model


class Rival(NamedTuple):
    """`published` are worst groups of whole networks; the figures of SAM, TAB and CMID were not read."""

    train: Callable[[Experiment], Trained]
    published: Published


_NONE, _NOT_READ = Published(None, None, ""), Published(None, None, "figures not read")
RIVALS = {
    "erm": Rival(erm, _NONE),
    "control": Rival(control, _NONE),
    "masktune": Rival(masktune, Published(0.864, 0.780, "none")),
    "sam": Rival(sam, _NOT_READ),
    "sam, plain head": Rival(partial(plain_head, sam), _NOT_READ),
    "sam, inferred groups": Rival(partial(inferred_head, sam), _NOT_READ),
    "tab": Rival(tab, _NOT_READ),
    "cmid": Rival(cmid, _NOT_READ),
    DEFAULT: Rival(partial(inferred_head, erm), Published(None, None, "ours, the default")),
}
