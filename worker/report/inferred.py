"""The groups that nobody labelled: which images of each split lack the pattern of their class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

from masktune.contract.report.base import Proportion
from masktune.contract.report.groups import GroupExample
from masktune.contract.report.inferred import (
    InferredGroups,
    InferredSplit,
    MixPoint,
    PartAccuracies,
    WorstGroups,
)
from masktune.contract.vocabulary import Arm
from models.backbones.network import Network
from models.data.splits import SPLITS
from models.data.store import Store, evenly
from models.evaluation.metrics import Logits, Names, metrics
from models.mitigation.pattern_groups import PatternGroups
from models.mitigation.wrong_labels import are_wrong
from models.statistics import ModelAccuracy, design_effect, few_clusters, mean_share
from models.types import Bools, Floats, Labels
from worker.context import StageContext
from worker.report.arms import clusters_of
from worker.report.contexts import ComparisonContext, FiguresContext
from worker.report.groups import make_examples
from worker.stages.infer_groups import InferredGroups as StageGroups

TEST = "test"
_EXAMPLES = 8
_LISTED = 200
_SHARES = tuple(round(0.05 * step, 2) for step in range(1, 20))  # 5 … 95 %

ByArm = Mapping[Arm, Logits]


class JobGroups(NamedTuple):
    """What the job has inferred, and the `context` in which figures are made: if the inferred groups
    `decide`, they are the groups of its data set."""

    context: FiguresContext
    of_stage: StageGroups | None
    groups: PatternGroups | None
    decide: bool

    @classmethod
    def of(cls, context: ComparisonContext) -> Self:
        of_stage = StageGroups.read(context)
        if of_stage is None:
            return cls(FiguresContext(context), None, None, False)
        groups = of_stage.groups(context.store)
        if not of_stage.decide_on(context.store):
            return cls(FiguresContext(context), of_stage, groups, False)
        images = context.store.with_groups(groups.names, groups.assigned)
        return cls(FiguresContext(replace(context, images=images)), of_stage, groups, True)

    @property
    def lacking(self) -> tuple[int, ...]:
        """Numbers of the groups that decide whose images lack the pattern of their class."""
        if self.groups is None or not self.decide:
            return ()
        return tuple(np.flatnonzero(self.groups.lacking).tolist())


def make_inferred(
    context: StageContext,
    inferred: JobGroups,
    logits: Mapping[str, ByArm],
    network: Network,
    *,
    folder: Path,
) -> InferredGroups | None:
    """The section `inferred_groups`; None if no early stage named a pattern.
    `context` has the data set's own groups; pictures as `network` sees them are written to `folder`."""
    of_stage, groups, store = inferred.of_stage, inferred.groups, context.store
    if of_stage is None or groups is None or of_stage.facts["stage"] is None:
        return None
    facts = of_stage.facts
    lacking = np.append(np.array(groups.lacking, bool), False)[groups.assigned]
    in_group = groups.assigned >= 0
    wrong = np.flatnonzero(of_stage.wrong)
    surest = wrong[np.argsort(-of_stage.label_doubt[wrong], kind="stable")][:_LISTED]
    train, by_arm = store.rows("train"), logits.get(TEST, {})
    without_wrong = {}
    if of_stage.wrong[store.rows(TEST)].any():
        undoubted = np.where(of_stage.wrong, -1, groups.assigned)
        without_wrong = _worst_groups(store, by_arm, undoubted, groups.names)
    return InferredGroups.model_validate(
        {
            "decide": inferred.decide,
            "model": facts["model"],
            "stage": facts["stage"],
            "reason": facts["reason"],
            "splits": {
                split: _split(store, by_arm, in_group=in_group, lacking=lacking, mixed=split == TEST)
                for split, by_arm in logits.items()
            },
            "comparison": _comparison(store, groups, by_arm),
            "examples": _examples(context, network, lacking, by_arm, folder),
            "wrong_labels": surest.tolist(),
            "wrong_labels_weigh_less": are_wrong(of_stage.label_doubt[train], store.labels[train]),
            "worst_groups_without_wrong_labels": without_wrong,
            "labels_look_wrong": {
                split: n for split in SPLITS if (n := int(of_stage.wrong[store.rows(split)].sum()))
            },
        }
    )


def _split(store: Store, by_arm: ByArm, *, in_group: Bools, lacking: Bools, mixed: bool) -> InferredSplit:
    rows = next(iter(by_arm.values())).rows
    counted = rows[in_group[rows]]
    right = {
        arm: np.asarray(of_arm.predictions == of_arm.labels)[in_group[rows]] for arm, of_arm in by_arm.items()
    }
    of_lacking, rest = (_part(store, counted, right, mine) for mine in (lacking[counted], ~lacking[counted]))
    labels, lacks = store.labels[counted], lacking[counted]
    alike = {arm: rest_alike(of_arm, labels, lacks) for arm, of_arm in right.items()}
    mix = {}
    if mixed:
        clusters = clusters_of(store, counted)
        mix = {arm: mix_points(of_arm, labels, lacks, clusters) for arm, of_arm in right.items()}
    return InferredSplit(
        n=len(rows),
        lacking=of_lacking,
        rest=rest,
        rest_alike={arm: share for arm, share in alike.items() if share is not None},
        mix={arm: points for arm, points in mix.items() if points},
    )


def _part(store: Store, rows: Labels, right: Mapping[Arm, Bools], mine: Bools) -> PartAccuracies:
    """Of the images of `rows` (N,) that are `mine` (N,), by whether each arm is `right` (N,)."""
    clusters = clusters_of(store, rows[mine])
    accuracies = {
        arm: Proportion.model_validate(ModelAccuracy.of("", of_arm[mine], clusters))
        for arm, of_arm in right.items()
    }
    return PartAccuracies(n=int(mine.sum()), accuracies=accuracies)


class _Cells(NamedTuple):
    """The `right` answers and all images, `n`, both (K, 2), of the classes that have images without their
    pattern, in the first column, and with it. `stratum` (N,) is an image's cell, −1 in other classes."""

    right: Floats
    n: Labels
    stratum: Labels

    @classmethod
    def of(cls, right: Bools, labels: Labels, lacks: Bools) -> Self:
        cell = 2 * labels + ~lacks
        sizes = np.bincount(cell, minlength=2 * (int(labels.max(initial=0)) + 1))
        counts = np.bincount(cell, right, len(sizes))
        both = np.asarray(sizes.reshape(-1, 2).all(1))
        stratum = np.where(both[labels], cell, -1)
        return cls(counts.reshape(-1, 2)[both].astype(np.float64), sizes.reshape(-1, 2)[both], stratum)


def rest_alike(right: Bools, labels: Labels, lacks: Bools) -> float | None:
    """The share of answers that are `right` (N,) on images that have the pattern of their class, each of the
    classes `labels` (N,) as often as among the images that lack it, by `lacks` (N,). None if no class has
    images of both kinds; the others do not count."""
    cells = _Cells.of(right, labels, lacks)
    (without, of_rest), (_, rights) = cells.n.T, cells.right.T
    return float(without @ (rights / of_rest) / without.sum()) if len(without) else None


def mix_points(right: Bools, labels: Labels, lacks: Bools, clusters: Labels | None) -> list[MixPoint]:
    """The accuracy for each of `_SHARES`, of answers that are `right` (N,), if that share of each class
    lacked its pattern, as images with `lacks` (N,) do: the mean over the classes `labels` (N,) at their
    shares of these images. A class without images of both kinds does not count. Equal `clusters` (N,) are not
    independent."""
    cells = _Cells.of(right, labels, lacks)
    counted = cells.stratum >= 0
    if not counted.any():
        return []
    strata, of_clusters = cells.stratum[counted], None if clusters is None else clusters[counted]
    shares = np.stack([cells.right.ravel(), cells.n.ravel()], 1)
    points = []
    for share in _SHARES:
        weights = np.outer(cells.n.sum(1) / counted.sum(), [share, 1 - share]).ravel()
        effect = design_effect(right[counted], of_clusters, strata=strata, weights=weights)
        effect *= _few_samples(cells.n.ravel(), weights)
        low, high = mean_share(shares.tolist(), weights.tolist(), effect=effect)
        accuracy = float(weights @ (shares[:, 0] / shares[:, 1]))
        points.append(MixPoint(share=share, accuracy=accuracy, low=low, high=high))
    return points


def _few_samples(n: Labels, weights: Floats) -> float:
    """Factor on the variance of a mean of shares of `n` (S,) samples each: Student's t over the normal
    quantile, squared, at Satterthwaite's degrees of freedom (1946), and what `mean_share` smooths away."""
    parts = weights**2 / n
    freedom = parts.sum() ** 2 / (parts**2 / np.maximum(n - 1, 1)).sum()
    return float(few_clusters(freedom) * (parts * (n + 1) / n).sum() / parts.sum())


def _comparison(store: Store, groups: PatternGroups, by_arm: ByArm) -> dict[Arm, WorstGroups]:
    """The worst group of each model by the inferred groups and by the data set's own, where it has any."""
    if not store.has_groups:
        return {}
    inferred = _worst_groups(store, by_arm, groups.assigned, groups.names)
    labelled = _worst_groups(store, by_arm, store.groups, store.group_names)
    return {
        arm: WorstGroups(inferred=inferred[arm], labelled=labelled[arm])
        for arm in inferred
        if arm in labelled
    }


def _worst_groups(
    store: Store,
    by_arm: ByArm,
    assigned: Labels,
    names: tuple[str, ...],
) -> dict[Arm, float]:
    """The worst group of each model by the groups `assigned` (N,) to all samples, where any is known."""
    worst = {
        arm: metrics(
            of_arm.labels,
            of_arm.predictions,
            groups=assigned[of_arm.rows],
            clusters=clusters_of(store, of_arm.rows),
            names=Names(store.classes, names),
        ).worst_group_accuracy
        for arm, of_arm in by_arm.items()
    }
    return {arm: accuracy for arm, accuracy in worst.items() if accuracy is not None}


def _examples(
    context: StageContext, network: Network, lacking: Bools, by_arm: ByArm, folder: Path
) -> list[GroupExample]:
    """Images of the test split that lack the pattern, evenly spaced within each class."""
    if not by_arm:
        return []
    rows: Labels = next(iter(by_arm.values())).rows
    rows = rows[lacking[rows]]
    classes = np.unique(context.store.labels[rows])
    each = -(-_EXAMPLES // max(1, len(classes)))
    of_classes = [evenly(rows[context.store.labels[rows] == label], each) for label in classes]
    shown = np.concatenate([np.empty(0, np.int64), *of_classes])[:_EXAMPLES]
    return make_examples(context, network, tuple(shown.tolist()), folder)
