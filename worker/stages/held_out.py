"""Held-out answers about training images, for a data set whose test split lacks too few patterns."""

from __future__ import annotations

import numpy as np

from models.backbones.network import Network
from models.mitigation.features import Features
from models.mitigation.held_out import HeldOutAnswers, TrainingImages, answer_held_out
from models.mitigation.stage_features import fitting_rows, pooled_stages
from models.mitigation.stages import early_stages
from worker.stages.context import StageContext
from worker.stages.forward import Passes, loader_for

HELD_OUT_PASSES = 2


def held_out_answers(
    context: StageContext, network: Network, last: Features, passes: Passes
) -> HeldOutAnswers:
    """Of at most 4,096 training images, as `fitting_rows` has them; `last` are those of the whole split.

    The pooled features are computed anew: stored, they would take 24 kB an image with EfficientNet-Lite0, and
    240 kB with ResNet-50.
    """
    store, rows = context.store, fitting_rows(network, last.rows)
    with passes.next() as run:
        pooled = pooled_stages(network.to(run.device), loader_for(context, network, rows, run), run)
    last = last.take(np.isin(last.rows, rows))
    images = TrainingImages(
        last, early_stages(network), pooled, store.pictures(last.rows), store.clusters(last.rows)
    )
    with passes.next() as run:
        return answer_held_out(
            images, context.retraining.head, run, classes=store.classes, answers=context.answers
        )
