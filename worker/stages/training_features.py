"""The features of the training split that heads and judges are fitted to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.backbones.network import Network
from models.mitigation.features import Features
from models.mitigation.stage_features import StageFeatures
from worker.stages.context import StageContext
from worker.stages.features import save_training_split
from worker.stages.forward import LOGITS, VALUES, FrozenFeatures, LogitsCache

FEATURES = "features.npz"


def training_features(
    context: StageContext,
    network: Network,
    cache: LogitsCache,
    *,
    frozen: bool,
    early: bool,
    folder: Path,
    model: str | None,
) -> StageFeatures:
    """The features of the training split, kept for later stages and attempts; `model` as in `NetworkPass`.

    Those of a frozen backbone serve other jobs as well, and have early stages only if `early` asks for them;
    those of a network that was trained whole go with the job, in `folder`.
    """
    if frozen:
        with cache.passes.next() as run:
            known = FrozenFeatures(context, network, model=model)
            return known.load_stages(run) if early else StageFeatures(known.load_training(run), (), (), ())
    with cache.passes.next() as run:
        if not (folder / FEATURES).is_file():  # written last
            folder.mkdir(parents=True, exist_ok=True)
            save_training_split(context, network, run, folder, model=model)
            rows = np.sort(context.store.rows("train"))
            columns = [np.load(folder / name, mmap_mode="r") for name in (VALUES, LOGITS)]
            Features(rows, context.store.labels[rows], *columns).save(folder / FEATURES)
            for name in (VALUES, LOGITS):
                (folder / name).unlink()
            context.workspace.save()
    return StageFeatures.load(folder, Features.load(folder / FEATURES))
