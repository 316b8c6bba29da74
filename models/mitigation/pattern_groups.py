"""Groups of label × the pattern that an image shows: of any images, once each image's pattern is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from models.mitigation.groups import Groups
from models.mitigation.mistakes import MIN_FLAGGED, flagged_clusters
from models.types import Bools, Floats, Labels

LEAST_OF_A_PATTERN = 10
"""Images of a class that must show each pattern for these to be groups of their own."""


class PatternGroups(NamedTuple):
    """Group of each image, `assigned` (N,), −1 for none, as an index into `names`.
    `lacking` (groups,) says of a group whether its images lack the pattern of their class."""

    assigned: Labels
    names: tuple[str, ...]
    lacking: tuple[bool, ...]


def pattern_groups(
    labels: Labels, patterns: Labels, classes: Sequence[str], *, counted: Bools | None = None
) -> PatternGroups:
    """Divide each class into images with its own pattern and others: one group for each other class whose
    pattern they show, if there are `LEAST_OF_A_PATTERN` of each, else one for all.

    `labels`, `patterns` (N,) are classes; a pattern of −1 is unknown, and the image in no group. Only images
    that are `counted` (N,) decide how a class is divided, by default all.
    """
    counted = np.ones(len(labels), bool) if counted is None else counted
    assigned, names, lacking = np.full(len(labels), -1), list[str](), list[bool]()
    for label, name in enumerate(classes):
        mine = (labels == label) & (patterns >= 0)
        for suffix, others in _parts(label, patterns[mine & counted], classes):
            assigned[mine & np.isin(patterns, others)] = len(names)
            names.append(f"{name} · {suffix}")
            lacking.append(label not in others)
    return PatternGroups(assigned, tuple(names), tuple(lacking))


def _parts(label: int, patterns: Labels, classes: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    """What the groups of a class are called, and whose patterns are in them."""
    yield "own pattern", [label]
    others = [other for other in range(len(classes)) if other != label]
    sizes = np.bincount(patterns, minlength=len(classes))[others]
    if len(others) > 1 and (sizes[sizes > 0] >= LEAST_OF_A_PATTERN).all() and (sizes > 0).sum() > 1:
        shown = [other for other, size in zip(others, sizes, strict=True) if size]
        yield from ((f"pattern of {classes[other]}", [other]) for other in shown)
        if hidden := [other for other in others if other not in shown]:
            yield "another pattern", hidden
    else:
        yield "another pattern", others


def divided_by_pattern(
    labels: Labels,
    patterns: Labels,
    classes: Sequence[str],
    *,
    clusters: Labels,
    weights: Floats,
    details: Mapping[str, Any],
) -> Groups:
    """The same for training samples, all of whose `patterns` are known.
    A class is divided only if two of its `clusters` (N,), from `first_samples`, show its own pattern and two
    another; samples whose label looks wrong, by `weights` (N,) as in `Groups`, do not count.
    """
    counts, lacks = weights > 0.5, patterns != labels
    own, other = (flagged_clusters(labels, side & counts, clusters) for side in (~lacks, lacks))
    divided = np.minimum(own, other) >= MIN_FLAGGED  # (K,)
    of_divided = np.where(divided[labels], patterns, labels)
    groups = pattern_groups(labels, of_divided, classes, counted=counts)
    used, assigned = np.unique(groups.assigned, return_inverse=True)
    of_group = {int(group): int(labels[groups.assigned == group][0]) for group in used}
    names = tuple(groups.names[g] if divided[label] else classes[label] for g, label in of_group.items())
    return Groups("early_stages", True, assigned.reshape(-1), names, details=details, weights=weights)
