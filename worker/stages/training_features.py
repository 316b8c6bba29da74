"""The features of the training split that heads and judges are fitted to."""

from __future__ import annotations

from pathlib import Path

from models.backbones.network import Network
from models.mitigation.features import Features
from models.mitigation.stage_features import StageFeatures, compute_stage_features, shuffled
from worker.stages.context import StageContext
from worker.stages.forward import FrozenFeatures, LogitsCache, loader_for

FEATURES = "features.npz"


def training_features(
    context: StageContext,
    network: Network,
    cache: LogitsCache,
    *,
    frozen: bool,
    early: bool,
    folder: Path,
) -> StageFeatures:
    """The features of the training split, kept for later stages and attempts.

    Those of a frozen backbone serve other jobs as well, and have early stages only if `early` asks for them;
    those of a network that was trained whole go with the job, in `folder`.
    """
    if frozen:
        with cache.passes.next() as run:
            known = FrozenFeatures(context, network)
            return known.load_stages(run) if early else StageFeatures(known.load_training(run), (), (), ())
    with cache.passes.next() as run:
        if not (folder / FEATURES).is_file():  # written last
            loader = loader_for(context, network, shuffled(context.store.rows("train")), run)
            computed = compute_stage_features(network, loader, run)
            folder.mkdir(parents=True, exist_ok=True)
            computed.save_early(folder)
            computed.last.save(folder / FEATURES)
            context.workspace.save()
    return StageFeatures.load(folder, Features.load(folder / FEATURES))
