"""What models would answer about training images, had none of these been fitted to them.

Where a test split has too few images that lack the pattern of their class, the training split may have
dozens. On a frozen backbone, everything above it is fitted anew in each fold: axes, judges, flags, heads and
their penalties. So no image is judged by anything that saw it or one of its cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from masktune.contract.hyperparameters import HeadConfig
from models.mitigation.features import Features
from models.mitigation.finder import infer_minority
from models.mitigation.groups import class_groups, single_group
from models.mitigation.logistic import folds
from models.mitigation.pattern_judge import fit_pattern_judge
from models.mitigation.retrain import cross_validated_head
from models.mitigation.stage_features import StageFeatures, principal_coordinates
from models.mitigation.stages import Stage
from models.run import Progress, Run
from models.types import Bools, Floats, Labels

_FOLDS = 5


@dataclass(frozen=True)
class TrainingImages:
    """N training images: `last` features, and the `pooled` ones (N, D) of each of the early `stages`, in the
    order of `last.rows`. Those with equal `pictures` (N,) are copies, with equal `clusters` (N,) also of one
    subject.
    """

    last: Features
    stages: tuple[Stage, ...]
    pooled: Sequence[NDArray[np.float32]]
    pictures: Labels
    clusters: Labels

    def stage_features(self, mask: Bools) -> StageFeatures:
        """Those of the images where `mask` (N,) is true, along axes that are fitted to these alone."""
        batch = [torch.from_numpy(values[mask]) for values in self.pooled]
        axes, (early,) = principal_coordinates(iter([batch]))
        return StageFeatures(self.last.take(mask), self.stages, tuple(part.numpy() for part in early), axes)


class HeldOutAnswers(NamedTuple):
    """Of each of N images: its row, the class whose pattern it shows, how probably its label is wrong, and
    what three heads predict, not balanced, balanced over inferred groups, and over classes; all by what was
    fitted without it."""

    rows: Labels
    patterns: Labels
    label_doubt: Floats
    erm: Labels
    retrained: Labels
    retrained_control: Labels

    def save(self, file: Path) -> None:
        np.savez_compressed(file, **self._asdict())

    @classmethod
    def load(cls, file: Path) -> Self:
        with np.load(file, allow_pickle=False) as arrays:
            return cls(**arrays)


def answer_held_out(
    images: TrainingImages,
    config: HeadConfig,
    run: Run,
    *,
    classes: Sequence[str],
    answers: Mapping[int, bool] | None = None,
) -> HeldOutAnswers | None:
    """Ask about each fold what is fitted to the others; `answers` as in `infer_minority`.

    There are none about the images of a fold if the others name no groups; None without any. Raises Stopped,
    and HeadError if the features are not finite.
    """
    rng = np.random.default_rng([run.seed, 5])
    numbers = folds(images.last.labels, count=_FOLDS, rng=rng, clusters=images.clusters)
    parts = []
    for number in range(_FOLDS):
        run.on_progress(Progress(0, 1, number, _FOLDS, 0.0))
        parts.append(answer_without(images, numbers == number, config, run, classes=classes, answers=answers))
    of_folds = [part for part in parts if part is not None]
    return HeldOutAnswers(*map(np.concatenate, zip(*of_folds, strict=True))) if of_folds else None


def answer_without(
    images: TrainingImages,
    held: Bools,
    config: HeadConfig,
    run: Run,
    *,
    classes: Sequence[str],
    answers: Mapping[int, bool] | None = None,
) -> HeldOutAnswers | None:
    """The answers about the images that are `held` (N,), by what is fitted to the rest; None if no early
    stage names the minority of the rest, or these lack a class."""
    known, clusters, device = ~held, images.clusters[~held], run.device
    labels = images.last.labels[known]
    if not held.any() or len(np.unique(labels)) < len(classes):
        return None
    features = images.stage_features(known)
    minority = infer_minority(
        features,
        config,
        classes=classes,
        seed=run.seed,
        pictures=images.pictures[known],
        clusters=clusters,
        answers=answers,
        device=device,
        check=run.check,
    )
    if not minority.is_open or minority.patterns is None:
        return None
    judge = fit_pattern_judge(features, minority, device=device, check=run.check)
    heads = [
        cross_validated_head(
            features.last, groups, config, seed=run.seed, clusters=clusters, device=device, check=run.check
        ).head
        for groups in (single_group(labels), minority.groups, class_groups(labels, classes))
    ]
    others = images.last.take(held)
    pooled = images.pooled[[stage.name for stage in images.stages].index(judge.stage)]
    patterns = judge.patterns(judge.axes.coordinates(torch.from_numpy(pooled[held])).numpy())
    judges = minority.label_judge
    doubt = judges.doubt(others.values, others.labels, patterns) if judges else np.zeros(len(patterns))
    predictions = (head.logits(others.values).argmax(1) for head in heads)
    return HeldOutAnswers(others.rows, patterns, doubt, *predictions)
