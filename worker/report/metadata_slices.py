"""Accuracies of the models on slices of the test split by its metadata, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping

from masktune.contract.report.base import Proportion
from masktune.contract.report.metadata import MetadataSlice, MetadataSlices, SliceAgainstRest
from masktune.contract.vocabulary import Arm
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.shortcuts.metadata_slices import RULE, metadata_slices
from models.statistics import ModelAccuracy, count_clusters
from models.types import Bools
from worker.report.arms import clusters_of, without_copies

SPLIT = "test"
CONFIDENCE = 0.95
"""Of all intervals together."""


def make_metadata_slices(store: Store, logits: Mapping[str, Mapping[Arm, Logits]]) -> MetadataSlices | None:
    """The section `metadata_slices`; None without a column of metadata, or without figures on test."""
    by_arm = {arm: without_copies(store, of_arm) for arm, of_arm in logits.get(SPLIT, {}).items()}
    if not store.metadata or not by_arm:
        return None
    rows = next(iter(by_arm.values())).rows
    sliced = metadata_slices(store.metadata.values(), rows)
    comparisons = len(sliced.slices) * len(by_arm)
    confidence = 1 - (1 - CONFIDENCE) / max(comparisons, 1)
    correct = {arm: of_arm.predictions == of_arm.labels for arm, of_arm in by_arm.items()}
    clusters = clusters_of(store, rows)

    def accuracy(arm: Arm, inside: Bools) -> Proportion:
        of_subjects = None if clusters is None else clusters[inside]
        of_arm = ModelAccuracy.of(arm, correct[arm][inside], of_subjects, confidence=confidence)
        return Proportion.model_validate(of_arm)

    return MetadataSlices(
        exploratory=True,
        rule=RULE,
        split=SPLIT,
        n=len(rows),
        comparisons=comparisons,
        confidence=confidence,
        slices=[
            MetadataSlice(
                column=part.column,
                value=part.value,
                n=int(part.inside.sum()),
                n_subjects=count_clusters(None if clusters is None else clusters[part.inside]),
                accuracies={
                    arm: SliceAgainstRest(
                        **accuracy(arm, part.inside).model_dump(), rest=accuracy(arm, ~part.inside)
                    )
                    for arm in by_arm
                },
            )
            for part in sliced.slices
        ],
        notes=list(sliced.notes),
    )
