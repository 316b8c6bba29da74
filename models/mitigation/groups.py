"""Groups of training samples to balance a last layer over: labelled, or inferred without group labels.

`label_groups` are those of DFR (Kirichenko et al. 2023) and the upper bound. The others are guesses and
are marked as such. Only `label_groups` reads true groups.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from masktune.contract.hyperparameters import GroupSource, HeadConfig
from models.mitigation.features import Features, HeadError
from models.mitigation.logistic import (
    Check,
    Standardised,
    first_samples,
    never,
)
from models.mitigation.mistakes import MIN_FLAGGED, find_mistakes
from models.shortcuts.clustering import cluster
from models.shortcuts.saliency_summary import shares
from models.types import Bools, Floats, Labels, Maps

Source = GroupSource | Literal["classes"]

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
    clusters: Labels | None = None,
) -> Groups:
    """Cross class with whether two models (ERM and MaskTune) predict differently.

    Samples with equal `clusters` (N,) count once in deciding whether to divide a class.
    """
    called, clusters = ("the models agree", "the models differ"), first_samples(clusters, len(labels))
    return divided_by("disagreement", labels, first != second, classes, called=called, clusters=clusters)


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
    clusters: Labels | None = None,
    device: torch.device | None = None,
    check: Check = never,
) -> Groups:
    """Cross class with whether heads fitted without the sample misclassify it: see `find_mistakes`.

    A head is balanced by `doubt`, not by the cut at one half: the few mistakes are the minority's hardest
    samples, and a head fitted to them alone overcorrects. No temperature is fitted first: the heads' targets
    come from similar heads, so a temperature would make them look overconfident.

    Samples with equal `clusters` (N,), of one subject or copies of one image, are judged by heads that saw
    none of them. A class is divided only if at least two of its clusters have mistakes and two have other
    samples. `check` is called at every step of a fit.
    """
    clusters = first_samples(clusters, len(features.labels))
    mistakes = find_mistakes(
        Standardised.of(features.values, device),
        features.labels,
        config,
        clusters=clusters,
        rng=np.random.default_rng([seed, 1]),
        check=check,
    )
    details = {
        "judge_penalty": mistakes.penalty,
        "judge_losses": {f"{penalty:g}": loss for penalty, loss in mistakes.losses.items()},
        "threshold": config.threshold,
        "flagged": list(mistakes.history),
    }
    called = ("judged right", "judged wrong")
    return divided_by(
        "cross_mistakes",
        features.labels,
        mistakes.flags,
        classes,
        called=called,
        clusters=clusters,
        doubt=mistakes.doubt,
        details=details,
    )


def divided_by(
    source: Source,
    labels: Labels,
    flags: Bools,
    classes: Sequence[str],
    *,
    called: tuple[str, str],
    clusters: Labels,
    doubt: Floats | None = None,
    details: Mapping[str, Any] | None = None,
) -> Groups:
    """Cross class with flag; a class is divided only if two clusters are flagged in it and two are not."""
    assigned, names = np.zeros(len(labels), np.int64), list[str]()
    for label, name in enumerate(classes):
        mine = labels == label
        split = min(len(np.unique(clusters[mine & side])) for side in (flags, ~flags)) >= MIN_FLAGGED
        assigned[mine] = len(names) + (flags[mine] if split else 0)
        names += [f"{name} · {state}" for state in called] if split else [name]
    return Groups(source, True, assigned, tuple(names), doubt, details or {})
