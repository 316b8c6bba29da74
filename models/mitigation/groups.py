"""Groups of training samples to balance a last layer over: labelled, or inferred without group labels.

`label_groups` are those of DFR (Kirichenko et al. 2023) and the upper bound. The others are guesses and
are marked as such. Only `label_groups` reads true groups.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from masktune.contract.hyperparameters import GroupSource, HeadConfig
from models.mitigation.features import Features, HeadError
from models.mitigation.logistic import (
    Check,
    Standardised,
    balanced_weights,
    first_samples,
    folds,
    held_out_logits,
    log_softmax,
    never,
    of_label,
)
from models.shortcuts.clustering import cluster
from models.shortcuts.saliency_summary import shares
from models.types import Bools, Floats, Labels, Maps

Source = GroupSource | Literal["classes"]

_SPLITS = 20  # random splits into halves
_MIN_FLAGGED = 2  # distinct images of a class: a single one could not be both fitted and held out
_MAP_SIDE = 8  # larger maps are average-pooled to this size before clustering


@dataclass(frozen=True)
class Groups:
    """Group number of each sample, `assigned` (N,), as an index into `names`.

    `doubt` (N,) in 0..1 is the estimated probability that a sample is in its class's minority. With `doubt`,
    a class has one group, or two with the minority's second, and `assigned` is `doubt` thresholded.
    `inferred` is False for groups that come from labels. `details` are plain JSON values.
    """

    source: Source
    inferred: bool
    assigned: Labels
    names: tuple[str, ...]
    doubt: Floats | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def memberships(self, labels: Labels) -> Floats:
        """Weights (N, groups) in 0..1, rows summing to 1: one-hot, or by `doubt` in a divided class."""
        members = np.eye(len(self.names))[self.assigned]
        if self.doubt is None:
            return members
        for label in np.unique(labels):
            mine = labels == label
            groups = np.unique(self.assigned[mine])
            if len(groups) == 2:
                members[np.ix_(mine, groups)] = np.stack([1 - self.doubt[mine], self.doubt[mine]], 1)
        return members

    @property
    def counts(self) -> dict[str, int]:
        sizes = np.bincount(self.assigned, minlength=len(self.names)).tolist()
        return dict(zip(self.names, sizes, strict=True))


def class_groups(labels: Labels, classes: Sequence[str]) -> Groups:
    """Make each class one group: for the control, which is balanced over classes alone."""
    return Groups("classes", False, labels, tuple(classes))


def label_groups(labels: Labels, groups: Labels, *, classes: Sequence[str], names: Sequence[str]) -> Groups:
    """Cross class with true group. Raises HeadError if a sample has no group (−1)."""
    if (groups < 0).any():
        raise HeadError(f"{int((groups < 0).sum())} training samples have no group: infer groups instead")
    pairs, assigned = np.unique(np.stack([labels, groups], 1), axis=0, return_inverse=True)
    called = tuple(_pair_name(classes[label], names[group]) for label, group in pairs.tolist())
    if len(set(called)) < len(called):  # a group name can start with the names of two classes
        called = tuple(f"{classes[label]} · {names[group]}" for label, group in pairs.tolist())
    return Groups("labels", False, assigned.reshape(-1), called)


def _pair_name(class_name: str, group: str) -> str:
    return group if group.startswith(class_name) else f"{class_name} · {group}"


def disagreement_groups(
    labels: Labels,
    first: Labels,
    second: Labels,
    *,
    classes: Sequence[str],
    pictures: Labels | None = None,
) -> Groups:
    """Cross class with whether two models (ERM and MaskTune) predict differently.

    Samples with equal `pictures` (N,) are copies. They count once in deciding whether to divide a class.
    """
    called, copies = ("the models agree", "the models differ"), first_samples(pictures, len(labels))
    return _flagged("disagreement", labels, first != second, classes, called=called, copies=copies)


def cluster_groups(
    labels: Labels, maps: Maps, *, classes: Sequence[str], seed: int, pictures: Labels | None = None
) -> Groups:
    """Cross class with cluster of saliency maps (N, h, w) (after ExMap; Chakraborty et al. 2024).

    `models.shortcuts.clustering` chooses the number of clusters in a class, which is often one. A sample
    whose map is zero or not finite joins the first group of its class. Copies, by `pictures` (N,), are
    clustered as one sample, because otherwise a few of them would form their own cluster.
    """
    first = first_samples(pictures, len(labels))
    side = min(_MAP_SIDE, *maps.shape[1:])
    small = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(maps)[:, None], side)[:, 0].numpy()
    mass = shares(small).reshape(len(maps), -1)
    usable = ~np.isnan(mass[:, 0])
    assigned, names, silhouettes = np.zeros(len(labels), np.int64), list[str](), dict[str, float | None]()
    for label, name in enumerate(classes):
        mine = labels == label
        at = np.flatnonzero(mine & usable)
        once, back = np.unique(first[at], return_index=True, return_inverse=True)[1:]
        clustering = cluster(mass[at[once]], np.random.default_rng([seed, label]))
        assigned[mine] = len(names)
        assigned[at] = len(names) + clustering.assigned[back]
        count = int(clustering.assigned.max(initial=0)) + 1
        names += [f"{name} · looked at way {index + 1} of {count}" for index in range(count)]
        silhouettes[name] = clustering.silhouette
    return Groups("saliency_clusters", True, assigned, tuple(names), details={"silhouettes": silhouettes})


def cross_mistakes(
    features: Features,
    config: HeadConfig,
    *,
    classes: Sequence[str],
    seed: int,
    pictures: Labels | None = None,
    device: torch.device | None = None,
    check: Check = never,
) -> Groups:
    """Cross class with whether heads fitted without the sample misclassify it (after XRM).

    1. Judges: for each of twenty random splits into halves, a head fitted on one half predicts the other.
       Their penalty is the one with the lowest held-out cross-entropy.
    2. A sample is a mistake if the judges' mean logits give its label a probability below the threshold. Its
       spurious label is then the most probable other class. Every other sample keeps its own label.
    3. `rounds` times: heads with the same penalty are fitted to the spurious labels, balanced over class ×
       mistake, which makes them rely on the shortcut instead of the class. The mistakes are then the samples
       whose label they give a probability below one half. This finds two to three times as many minority
       samples as step 2 (Pezeshki et al. 2024 flip labels to the same end).

    `doubt` is one minus the probability that the last of these heads give to the label. A head is balanced
    by `doubt`, not by the cut at one half: the few mistakes are the minority's hardest samples, and a head
    fitted to them alone overcorrects. No temperature is fitted first: the heads' targets come from similar
    heads, so a temperature would make them look overconfident.

    A class is divided only if it has at least two distinct mistakes and two distinct other samples. Copies,
    by `pictures` (N,), are judged by heads that saw none of them, and count as one mistake. `check` is
    called at every step of a fit.
    """
    standardised = Standardised.of(features.values, device)
    labels, rng = features.labels, np.random.default_rng([seed, 1])
    count = int(labels.max()) + 1  # also for spurious labels, which may lack the last class
    plain, copies = balanced_weights(labels, labels), first_samples(pictures, len(labels))
    judge = partial(_judge, standardised, copies=copies, classes=count, rng=rng, check=check)
    judged = {p: judge(labels, labels, plain, penalty=p) for p in config.judge_penalties}
    losses = {p: float(-of_label(held_out, labels).mean()) for p, held_out in judged.items()}
    penalty = min(judged, key=lambda p: losses[p])
    mistakes, doubt, spurious = _mistakes(judged[penalty], labels, config.threshold)
    history = [int(mistakes.sum())]
    for _ in range(config.rounds):
        groups = labels * 2 + mistakes
        if _flagged_pictures(labels, mistakes, copies).min() < _MIN_FLAGGED:
            break
        held_out = judge(spurious, groups, balanced_weights(labels, groups), penalty=penalty)
        flagged, surely, taken = _mistakes(held_out, labels, 0.5)
        if _flagged_pictures(labels, flagged, copies).min() < _MIN_FLAGGED:
            break
        mistakes, doubt, spurious = flagged, surely, taken
        history.append(int(mistakes.sum()))
    details = {
        "judge_penalty": penalty,
        "judge_losses": {f"{p:g}": loss for p, loss in losses.items()},
        "threshold": config.threshold,
        "flagged": history,
    }
    called = ("judged right", "judged wrong")
    return _flagged(
        "cross_mistakes",
        labels,
        mistakes,
        classes,
        called=called,
        copies=copies,
        doubt=doubt,
        details=details,
    )


def _judge(
    standardised: Standardised,
    targets: Labels,
    strata: Labels,
    weights: Floats,
    *,
    copies: Labels,
    classes: int,
    penalty: float,
    rng: np.random.Generator,
    check: Check,
) -> Floats:
    """Held-out log-probabilities (N, K), from heads fitted to `targets` on halves stratified by `strata`."""
    halves = [folds(strata, count=2, rng=rng, pictures=copies) for _ in range(_SPLITS)]
    held = np.concatenate([half[:, None] == np.arange(2) for half in halves], axis=1)
    columns = np.repeat(weights[:, None], held.shape[1], 1)
    logits = held_out_logits(
        standardised, targets, columns, held=held, penalty=penalty, classes=classes, check=check
    )
    return log_softmax(logits)


def _mistakes(log_probabilities: Floats, labels: Labels, threshold: float) -> tuple[Bools, Floats, Labels]:
    """(whether a mistake, 1 − probability of the label, spurious label), (N,) each."""
    own = np.exp(of_label(log_probabilities, labels))
    others = log_probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    mistakes = own < threshold
    return mistakes, 1 - own, np.where(mistakes, others.argmax(1), labels)


def _flagged_pictures(labels: Labels, flags: Bools, copies: Labels) -> Labels:
    """Number of distinct flagged images per class, (K,); `copies` (N,) come from `first_samples`."""
    pictures = np.unique(labels[flags] * len(labels) + copies[flags])
    return np.bincount(pictures // len(labels), minlength=int(labels.max()) + 1)


def _flagged(
    source: Source,
    labels: Labels,
    flags: Bools,
    classes: Sequence[str],
    *,
    called: tuple[str, str],
    copies: Labels,
    doubt: Floats | None = None,
    details: Mapping[str, Any] | None = None,
) -> Groups:
    """Cross class with flag; a class is divided only if two distinct images are flagged and two are not."""
    assigned, names = np.zeros(len(labels), np.int64), list[str]()
    for label, name in enumerate(classes):
        mine = labels == label
        split = min(len(np.unique(copies[mine & side])) for side in (flags, ~flags)) >= _MIN_FLAGGED
        assigned[mine] = len(names) + (flags[mine] if split else 0)
        names += [f"{name} · {state}" for state in called] if split else [name]
    return Groups(source, True, assigned, tuple(names), doubt, details or {})
