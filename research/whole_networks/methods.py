"""The methods by name, and what their papers publish."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from masktune.contract.hyperparameters import HeadConfig
from models.backbones.network import Network
from models.data.loading.batches import Batch
from models.data.loading.loaders import evaluation_loader
from models.mitigation.finder import infer_minority
from models.mitigation.groups import class_groups
from models.mitigation.retrain import retrain_head
from models.mitigation.stage_features import shuffled
from models.runtime.files import replacing
from research._arms import train_arms
from research.rivals.methods import Published
from research.whole_networks.objectives import balanced_positions, conditional_information, conflicting
from research.whole_networks.sets import Experiment
from research.whole_networks.training import losses, train
from tests.support.stage_features import compute_stage_features

_RADIUS = 0.05  # of SAM
_CMID_STRENGTH, _CMID_GROWTH, _SIMPLE_EPOCHS = 20.0, 4.0, 2
_HEAD = HeadConfig()
DEFAULT = "erm, inferred groups"
Trained = tuple[Network, str]
"""A network, and what its method saw, without groups: masks, clusters, inferred groups."""
Method = Callable[[Experiment], Trained]


def arm(name: str, experiment: Experiment) -> Trained:
    """ERM, MaskTune as published (masks of two standard deviations, once), or an arm of the same budget."""
    inputs = experiment.store, experiment.config, experiment.run
    arms = train_arms(experiment.new_network(), *inputs, folder=experiment.folder)
    _, network, masks = next(trained for trained in arms if trained.name == name)
    if masks is None:
        return network, ""
    return network, f"{masks.nothing_masked} of {len(masks)} masks empty, {masks.masked_share:.1%} masked"


def sam(experiment: Experiment) -> Trained:
    """Sharpness-aware minimisation (Foret et al. 2021) for half the epochs: its step takes two gradients."""
    path, network = experiment.folder / "sam.pt", experiment.new_network()
    if not path.exists():  # three methods use it
        train(network, experiment, epochs=experiment.epochs // 2, radius=_RADIUS)
        with replacing(path) as file:
            torch.save(network.state_dict(), file)
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval(), ""


def refitted(base: Method, experiment: Experiment, *, inferred: bool) -> Trained:
    """The last layer of `base` fitted anew, balanced over the classes, or over the groups that the network's
    early stages tell."""
    store, seed, (network, _) = experiment.store, experiment.run.seed, base(experiment)
    loader = evaluation_loader(store, shuffled(store.rows("train")), experiment.config, experiment.run)
    features = compute_stage_features(network, loader, experiment.run)
    groups, note = class_groups(features.last.labels, store.classes), ""
    if inferred:
        minority = infer_minority(features, _HEAD, classes=store.classes, seed=seed)
        groups, note = minority.groups, f"{minority.reason}: {dict(minority.groups.counts)}"
    retrain_head(network, features.last, groups, _HEAD, seed=seed)
    return network, note


def tab(experiment: Experiment) -> Trained:
    """TAB (Zarlenga et al. 2024): a new network on a set in which two clusters of loss histories are equal.

    A helper, trained as ERM is, gives each image a loss after each epoch; in each class k-means makes two
    clusters, and every cluster is drawn as often as the largest of all. It has no hyperparameter and chooses
    nothing. Its code was not to be had: the losses are those after an epoch, in evaluation mode; an image is
    repeated as it is, where the paper augments it, since these sets have no augmentation; the new network
    has as many steps as the others, and the helper's come on top.
    """
    history: list[NDArray[np.float32]] = []
    helper, store, seed = experiment.new_network(), experiment.store, experiment.run.seed
    train(
        helper,
        experiment,
        epochs=experiment.config.epochs,
        after_epoch=lambda: history.append(losses(helper, experiment)),
    )
    rows = store.rows("train")
    named = conflicting(np.stack(history, 1), store.labels[rows], seed=seed)
    drawn = balanced_positions(store.labels[rows] * 2 + named, np.random.default_rng([seed, 41]))
    network = train(experiment.new_network(), experiment, epochs=experiment.epochs, rows=rows[drawn])
    return network, f"{int(named.sum())} of {len(rows)} in the clusters of the higher loss"


def cmid(experiment: Experiment) -> Trained:
    """CMID (Vasudeva et al. 2023): a penalty on the information that a simple model's predictions give about
    the network's, given the label.

    The penalty is the released code's, its strength that for Waterbirds, 20 · (1 + epoch / 4). Published: a
    simple model of two convolutions for photographs, by Adam. Here: the released code's other choice, a
    linear model of the pixels, trained as the networks are for two epochs, since digits of 28 px are no
    harder for two convolutions than the shortcut is.
    """
    pixels, classes = 3 * experiment.config.image_size**2, len(experiment.store.classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.run.seed)
        simple = nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))
    train(simple, experiment, epochs=_SIMPLE_EPOCHS)

    def penalised(network: nn.Module, batch: Batch, epoch: int) -> Tensor:
        logits = network(batch.images)
        probabilities = simple(batch.images).detach().softmax(1)
        penalty = conditional_information(logits.softmax(1), probabilities, batch.labels)
        strength = _CMID_STRENGTH * (1 + epoch / _CMID_GROWTH)
        return F.cross_entropy(logits, batch.labels) + strength * penalty

    return train(experiment.new_network(), experiment, epochs=experiment.epochs, loss=penalised), ""


METHODS: dict[str, Method] = {
    "erm": partial(arm, "erm"),
    "control": partial(arm, "control"),
    "random mask": partial(arm, "random_mask"),
    "masktune": partial(arm, "masktune"),
    "sam": sam,
    "sam, plain head": partial(refitted, sam, inferred=False),
    "sam, inferred groups": partial(refitted, sam, inferred=True),
    "tab": tab,
    "cmid": cmid,
    DEFAULT: partial(refitted, partial(arm, "erm"), inferred=True),
}
ARMS = ("erm", "control", "random mask", "masktune", DEFAULT)
PUBLISHED = {"masktune": Published(0.864, 0.780, "none"), DEFAULT: Published(None, None, "ours, the default")}
"""Of whole networks, the worst group. SAM's, TAB's and CMID's were not read."""
