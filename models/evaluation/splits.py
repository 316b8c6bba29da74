"""The metrics of a network on whole splits of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from masktune.contract.hyperparameters import Hyperparameters
from models.backbones.network import Network
from models.data.loading.loaders import evaluation_loader
from models.data.store import Store
from models.evaluation.metrics import Metrics, Names, metrics, predict_logits
from models.run import Run


def evaluate_splits(
    network: Network, store: Store, config: Hyperparameters, run: Run, splits: Sequence[str] = ("val", "test")
) -> dict[str, Metrics]:
    """Metrics by split name, including those of groups if the data set has any."""
    groups = store.groups if store.has_groups else None
    names = Names(store.classes, store.group_names)
    train_groups = np.bincount(store.groups[store.rows("train")] + 1, minlength=1)[1:]
    by_split = {}
    for split in splits:
        logits = predict_logits(network, evaluation_loader(store, store.rows(split), config, run), run)
        by_split[split] = metrics(
            logits.labels,
            logits.predictions,
            groups=None if groups is None else groups[logits.rows],
            train_group_weights=dict(enumerate(train_groups.tolist())),
            clusters=store.clusters(logits.rows) if store.has_subjects else None,
            names=names,
        )
    return by_split
