"""Which inputs are unlike the training images: fitted with a calibration, and told in predict jobs.

The training images are those of the data set that the model is calibrated on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from models.backbones.network import Network
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.mitigation.features import inputs_of, linear_layer
from models.selective import (
    LEAST_HELD_OUT,
    MOST_VECTORS,
    NEIGHBOURS,
    NEIGHBOURS_FILE,
    TrainingNeighbours,
)
from models.types import Bools, Labels
from worker.context import StageContext
from worker.networks.features import LogitsCache, logits_in
from worker.results import ModelSpec


class FittingRows(NamedTuple):
    """Rows of `train` that inputs are compared with, and of `val` that the threshold is taken from."""

    train: Labels
    val: Labels


def fitting_rows(store: Store) -> FittingRows | None:
    """Independent rows, of `train` at most `MOST_VECTORS`, drawn at random; None if there are too few."""
    train, val = store.independent_rows("train"), store.independent_rows("val", apart_from=("train",))
    if len(train) < NEIGHBOURS or len(val) < LEAST_HELD_OUT:
        return None
    return FittingRows(np.sort(np.random.default_rng(0).permutation(train)[:MOST_VECTORS]), val)


def fit_neighbours(
    cache: LogitsCache, model: ModelSpec, rows: FittingRows
) -> tuple[TrainingNeighbours, Logits]:
    """The model's training neighbours, and its logits on the whole of `val`.

    Raises HeadError for a network without the one linear layer whose inputs are compared.
    """
    training = cache.features(model, "train", rows.train)
    val = cache.features(model, "val")
    held_out = val.values[np.isin(val.rows, rows.val)]
    return TrainingNeighbours.fit(training.values, held_out), logits_in(val)


@contextmanager
def unlike_training(
    context: StageContext, model: ModelSpec, network: Network
) -> Iterator[Callable[[], Bools] | None]:
    """Of each image of a batch, whether it is unlike the training images: a function to call inside the
    block, in the thread and after the forward pass of `network`; None if the model cannot tell."""
    if model.calibration is None or model.calibration.unlike_threshold is None:
        yield None
        return
    file = context.artifacts.file(model.calibration.artifact, NEIGHBOURS_FILE)
    neighbours = TrainingNeighbours.load(file)
    with inputs_of(linear_layer(network)) as received:

        def unlike() -> Bools:
            values = received.inputs[0].float().cpu().numpy()
            received.inputs.clear()
            return neighbours.unlike(values)

        yield unlike
