"""Figures of the models' answers that decide no verdict: their reliability, disagreement, plain numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from masktune.contract.report.accuracy import BackgroundGap, Disagreement, ModelAtChance
from masktune.contract.report.probabilities import Reliability
from masktune.contract.vocabulary import Arm
from models.data.store import Store
from models.evaluation.background_gap import RANDOM, SAME, VariantPredictions, background_gap
from models.evaluation.metrics import Logits, Metrics
from models.evaluation.reliability import calibration_error
from models.run import Run
from models.statistics import clustered_wilson, count_clusters
from worker.report.arms import clusters_of, seeded
from worker.results import Json


def reliability_of(
    store: Store, run: Run, logits: Logits, *, generator_of: tuple[str, Arm]
) -> Reliability | None:
    """How well the probabilities fit; the generator is that of this split and arm."""
    run.check()
    error = calibration_error(
        logits.logits,
        logits.labels,
        clusters=clusters_of(store, logits.rows),
        generator=seeded(run, *generator_of, "reliability"),
    )
    return None if error is None else Reliability.model_validate(error)


def disagreement_of(store: Store, by_arm: Mapping[Arm, Logits], after: Arm | None) -> Disagreement | None:
    """How often ERM and the model after disagree: a sign of distribution shift that needs no labels."""
    if after is None or Arm.ERM not in by_arm:
        return None
    differ = by_arm[Arm.ERM].predictions != by_arm[after].predictions
    n, disagree = len(differ), int(differ.sum())
    clusters = clusters_of(store, by_arm[after].rows)
    low, high = clustered_wilson(differ, clusters)
    return Disagreement(
        n=n,
        n_subjects=count_clusters(clusters),
        disagree=disagree,
        share=disagree / n,
        low=low,
        high=high,
    )


def background_gaps(
    store: Store, run: Run, logits: Mapping[str, Mapping[Arm, Logits]]
) -> dict[str, dict[Arm, BackgroundGap]]:
    """By split and arm, on splits that contain both variants; empty but for the Background Challenge."""
    names = store.group_names
    if not {SAME, RANDOM} <= set(names):
        return {}
    return {
        split: {
            arm: BackgroundGap.model_validate(
                background_gap(
                    _of_variant(store, of_arm, SAME),
                    _of_variant(store, of_arm, RANDOM),
                    generator=seeded(run, "background", split, arm),
                )
            )
            for arm, of_arm in by_arm.items()
        }
        for split, by_arm in logits.items()
        if all(len(store.rows(split, group=names.index(name))) for name in (SAME, RANDOM))
    }


def _of_variant(store: Store, logits: Logits, variant: str) -> VariantPredictions:
    inside = store.groups[logits.rows] == store.group_names.index(variant)
    paths = store.paths.take(logits.rows[inside]).to_pylist()
    names = ["/".join(path.split("/")[-2:]) for path in paths]
    correct = logits.predictions[inside] == logits.labels[inside]
    return VariantPredictions(np.asarray(correct), names, clusters_of(store, logits.rows[inside]))


def at_chance(arm: Arm, seed: int | None, of_arm: Metrics) -> ModelAtChance:
    return ModelAtChance(
        arm=arm,
        seed=seed,
        n=of_arm.n,
        n_subjects=of_arm.n_subjects,
        balanced_accuracy=of_arm.balanced_accuracy,
        low=of_arm.balanced_accuracy_low,
        high=of_arm.balanced_accuracy_high,
        chance=of_arm.chance,
    )


def plain_figures(of_arm: Metrics) -> Json:
    """The numbers alone, without their n and intervals."""
    return {
        "accuracy": of_arm.accuracy,
        "balanced_accuracy": of_arm.balanced_accuracy,
        "worst_class_accuracy": of_arm.worst_class_accuracy,
        "worst_group_accuracy": of_arm.worst_group_accuracy,
        "train_weighted_accuracy": of_arm.train_weighted_accuracy,
        "groups": {group.name: group.accuracy for group in of_arm.groups} or None,
    }
