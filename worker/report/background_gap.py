"""The background gap of each model, on splits that contain both of the variants that it compares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from masktune.contract.report.accuracy import BackgroundGap
from masktune.contract.vocabulary import Arm
from models.data.store import Store
from models.evaluation.background_gap import RANDOM, SAME, Answered, background_gap
from models.evaluation.metrics import Logits
from worker.report.arms import seed_name
from worker.stages.context import StageContext


def background_gaps(
    context: StageContext, logits: Mapping[str, Mapping[Arm, Logits]]
) -> dict[str, dict[Arm, BackgroundGap]]:
    """The report's section `background_gap`, by split and arm; empty except for the Background Challenge."""
    store, seed = context.store, context.run.seed & 0xFFFFFFFF
    if not {SAME, RANDOM} <= set(store.group_names):
        return {}
    return {
        split: {
            arm: BackgroundGap.model_validate(
                background_gap(
                    _answered(store, said, SAME),
                    _answered(store, said, RANDOM),
                    generator=np.random.default_rng([seed, *f"background/{split}/{seed_name(arm)}".encode()]),
                )
            )
            for arm, said in by_arm.items()
        }
        for split, by_arm in logits.items()
        if all(len(store.rows(split, group=store.group_names.index(name))) for name in (SAME, RANDOM))
    }


def _answered(store: Store, said: Logits, variant: str) -> Answered:
    inside = store.groups[said.rows] == store.group_names.index(variant)
    names = ["/".join(store.sample(row).path.split("/")[-2:]) for row in said.rows[inside].tolist()]
    return Answered((said.predictions == said.labels)[inside], names)
