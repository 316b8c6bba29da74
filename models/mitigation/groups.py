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

from masktune.contract.hyperparameters import HeadConfig
from models.data.group_sizes import distinct_sizes
from models.mitigation.features import Features, HeadError
from models.mitigation.logistic import (
    Check,
    Standardised,
    first_samples,
    never,
)
from models.mitigation.mistakes import MIN_FLAGGED, find_mistakes
from models.types import Bools, Floats, Labels

Source = Literal["labels", "early_stages", "cross_mistakes", "classes"]


@dataclass(frozen=True)
class Groups:
    """Group number of each sample, `assigned` (N,), as an index into `names`.

    `doubt` (N,) in 0..1 is the estimated probability that a sample is in its class's minority. With `doubt`,
    a class has one group, or two with the minority's second, and `assigned` is `doubt` thresholded.
    `weights` (N,) in 0..1 say how much a sample counts in its group: the probability that its label is right.
    `inferred` is False for groups that come from labels. `details` are plain JSON values.
    """

    source: Source
    inferred: bool
    assigned: Labels
    names: tuple[str, ...]
    doubt: Floats | None = None
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    weights: Floats | None = None

    def memberships(self, labels: Labels) -> Floats:
        """Weights (N, groups) in 0..1, rows summing to 1 or to the sample's weight: one-hot, or by `doubt` in
        a divided class."""
        members = np.eye(len(self.names))[self.assigned]
        if self.weights is not None:
            members *= self.weights[:, None]
        if self.doubt is None:
            return members
        for label in np.unique(labels):
            mine = labels == label
            groups = np.unique(self.assigned[mine])
            if len(groups) == 2:
                members[np.ix_(mine, groups)] = np.stack([1 - self.doubt[mine], self.doubt[mine]], 1)
        return members

    @property
    def counted(self) -> Bools:
        """(N,), false for samples whose label looks wrong."""
        return np.ones(len(self.assigned), bool) if self.weights is None else self.weights > 0.5

    @property
    def counts(self) -> dict[str, int]:
        sizes = np.bincount(self.assigned[self.counted], minlength=len(self.names)).tolist()
        return dict(zip(self.names, sizes, strict=True))


def class_groups(labels: Labels, classes: Sequence[str]) -> Groups:
    """Make each class one group: for the control, which is balanced over classes alone."""
    return Groups("classes", False, labels, tuple(classes))


def label_groups(
    labels: Labels,
    groups: Labels,
    *,
    classes: Sequence[str],
    names: Sequence[str],
    clusters: Labels | None = None,
) -> Groups:
    """Cross class with true group.
    Raises HeadError if a sample has no group (−1).

    `details` say how many distinct samples the smallest has: those with equal `clusters` (N,) count once.
    """
    if (groups < 0).any():
        raise HeadError(f"{int((groups < 0).sum())} training samples have no group: infer groups instead")
    pairs, assigned = np.unique(np.stack([labels, groups], 1), axis=0, return_inverse=True)
    called = tuple(
        names[group] if names[group].startswith(classes[label]) else f"{classes[label]} · {names[group]}"
        for label, group in pairs.tolist()
    )
    if len(set(called)) < len(called):  # a group name can start with the names of two classes
        called = tuple(f"{classes[label]} · {names[group]}" for label, group in pairs.tolist())
    return Groups(
        "labels",
        False,
        assigned.reshape(-1),
        called,
        details={"smallest": int(distinct_sizes(labels, groups, first_samples(clusters, len(labels))).min())},
    )


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
