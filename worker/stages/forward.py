"""Forward passes over a split, and what is kept of them: features and logits.

The features of a frozen backbone are computed once for all stages and jobs that use them. The artifact
`features/{data set}/{digest}-{split}` holds `values.npy`, (N, D) float32: the last layer's inputs for the
images of the split in stored order. `features/{data set}/{digest}-early` holds the early stages of the
training split (`StageFeatures.load`), from which groups are inferred, and `{digest}-early-{split}` the
coordinates of another split along the same axes, `early-N.npy`. The digest is of the weights
below the last layer, the input size and the data set, so an artifact is never out of date.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.storage.artifacts import ArtifactMissing
from masktune.contract.hyperparameters import Crop
from models.backbones.network import Network
from models.data.loading.batches import StoreLoader, make_loader
from models.evaluation.metrics import Logits
from models.mitigation.features import Features, compute_features, head_of
from models.mitigation.stage_features import StageFeatures
from models.mitigation.stages import early_stages
from models.run import Progress, Run
from models.runtime.files import replacing
from models.training.frozen import FeatureSource, backbone_digest
from worker.results import ModelSpec
from worker.stages.context import StageContext
from worker.stages.features import (
    UNTRAINED,
    NetworkPass,
    evaluation_settings,
    save_training_split,
    write_columns,
)
from worker.stages.training import load

VALUES, LOGITS, EARLY = "values.npy", "logits.npy", "early"


def loader_for(
    context: StageContext,
    network: Network,
    rows: NDArray[np.int64],
    run: Run | None = None,
    *,
    crop: Crop = "none",
) -> StoreLoader:
    """A loader of these rows in this order, at the network's input size; `crop` is for saliency only."""
    return make_loader(context.store, rows, evaluation_settings(network, crop), run or context.run)


def logits_of(
    context: StageContext,
    network: Network,
    split: str,
    run: Run,
    features: NDArray[np.float32] | None,
    *,
    model: str | None = None,
) -> Logits:
    """The logits of every sample of the split, in stored order: the last layer's on its `features` (N, D),
    else by a forward pass; `model` as in `NetworkPass`."""
    rows = context.store.rows(split)
    if features is not None:
        return Logits(rows, context.store.labels[rows], head_of(network).logits(features))
    sharded = NetworkPass(context, network, "logits", split=split, model=model)
    context.compute_shards(sharded, run.on_progress)
    logits = np.concatenate([columns["logits"] for _, columns in sharded.parts()])
    return Logits(rows, context.store.labels[rows], logits)


# Shares of the progress of a stage where a pass has 1: of fits, and of the features of the training split.
FITS, _TRAIN = 10, 5


class Passes:
    """The progress of a stage that makes `count` passes or trainings, or more: each has its share."""

    def __init__(self, run: Run, count: int) -> None:
        self._run, self._count, self._begun = run, count, 0

    @contextmanager
    def next(self, share: int = 1) -> Iterator[Run]:
        """The run of the next pass, or of what takes as long as `share` passes."""
        before, self._begun = self._begun, self._begun + share
        count = max(self._count, self._begun)

        def report(progress: Progress) -> None:
            """Report all passes as the steps of one epoch, in whole numbers so that the fraction is exact."""
            epochs = max(1, progress.epochs)
            steps = progress.steps * epochs
            done = steps * before + share * min(steps, progress.epoch * progress.steps + progress.step)
            self._run.on_progress(progress._replace(epoch=0, epochs=1, step=done, steps=steps * count))

        yield replace(self._run, on_progress=report)


def frozen_source(
    context: StageContext, network: Network, *, model: str | None = UNTRAINED
) -> FeatureSource | None:
    """The features that a training of `network` takes; None unless the job freezes the backbone."""
    if not context.params.freeze_backbone:
        return None
    frozen, passes = FrozenFeatures(context, network, model=model), Passes(context.run, _TRAIN + 2)
    early = context.infers_groups

    def features(split: str) -> NDArray[np.float32]:
        with passes.next(_TRAIN if split == "train" else 1) as run:
            if early and split == "train":  # the next stage reads early stages: one pass computes all
                return frozen.load_stages(run).last.values
            return frozen.load(split, run)

    return features


class FrozenFeatures:
    """The features of each split for one backbone: read, or computed by a forward pass and kept; `model` as
    in `NetworkPass`."""

    def __init__(self, context: StageContext, network: Network, *, model: str | None) -> None:
        self._context, self._network, self._model = context, network, model
        identity = f"{backbone_digest(network)} {context.store.digest}"
        self._digest = hashlib.sha256(identity.encode()).hexdigest()[:32]

    def load(self, split: str, run: Run) -> NDArray[np.float32]:
        """(N, D), mapped from the artifact's file; what is written to it stays in memory."""
        folder = self._folder(split) or self._save_split(split, run)
        run.on_progress(Progress(1, 1, 1, 1, 0.0))
        # Not "r": torch would warn that it cannot write to its share of the memory.
        values: NDArray[np.float32] = np.load(folder / VALUES, mmap_mode="c")
        return values

    def has(self, split: str) -> bool:
        """Whether those of the split are there already."""
        return self._folder(split) is not None

    def load_early(self, split: str, stage: str, run: Run) -> NDArray[np.float16]:
        """(N, P): the coordinates of a split, other than train, in this early stage, along the axes that
        `load_stages` has fitted."""
        folder = self._folder(f"{EARLY}-{split}")
        if folder is None:
            self._save_split(split, run)
            folder = self._context.artifacts.folder(self._key(f"{EARLY}-{split}"))
        number = [one.name for one in early_stages(self._network)].index(stage)
        coordinates: NDArray[np.float16] = np.load(folder / f"early-{number}.npy", mmap_mode="r")
        return coordinates

    def load_stages(self, run: Run) -> StageFeatures:
        """Those of the training split, mapped from the artifacts' files."""
        folder = self._folder(EARLY) or self._save_stages(run)
        return StageFeatures.load(folder, self.load_training(run))

    def load_training(self, run: Run) -> Features:
        """Those of the training split, without early stages."""
        rows, values = self._context.store.rows("train"), self.load("train", run)
        logits = head_of(self._network).logits(values)
        return Features(rows, self._context.store.labels[rows], values, logits)

    def _key(self, part: str) -> str:
        assert self._context.spec.dataset is not None
        return f"features/{self._context.spec.dataset.id}/{self._digest}-{part}"

    def _folder(self, part: str) -> Path | None:
        """The artifact's folder; None if it is not there."""
        try:
            return self._context.artifacts.folder(self._key(part))
        except ArtifactMissing:
            return None

    def _save_split(self, split: str, run: Run) -> Path:
        """Once axes are there, the coordinates along them come with the same pass."""
        artifacts, rows = self._context.artifacts, self._context.store.rows(split)
        stages = early_stages(self._network) if artifacts.exists(self._key(EARLY)) else ()
        sharded = NetworkPass(
            self._context,
            self._network,
            "early" if stages else "values",
            split=split,
            model=self._model,
            axes=self._key(EARLY) if stages else None,
        )
        self._context.compute_shards(sharded, run.on_progress)
        early = {f"early-{number}" for number in range(len(stages))}
        columns = early if self.has(split) else early | {"values"}
        part = f"{EARLY}-{split}" if early else split
        with artifacts.writing(self._key(part)) as target:
            write_columns(target, sharded.parts(), rows, columns)
            if early and "values" in columns:
                self._move_values(target, split)
        artifacts.delete(self._context.key_of(sharded))
        return artifacts.folder(self._key(split))

    def _save_stages(self, run: Run) -> Path:
        with self._context.artifacts.writing(self._key(EARLY)) as target:
            save_training_split(self._context, self._network, run, target, model=self._model)
            (target / LOGITS).unlink()
            self._move_values(target, "train")
        return self._context.artifacts.folder(self._key(EARLY))

    def _move_values(self, folder: Path, split: str) -> None:
        """From the `folder` of early stages to the split's own."""
        with self._context.artifacts.writing(self._key(split)) as target:
            (folder / VALUES).rename(target / VALUES)


def of_rows(logits: Logits, rows: NDArray[np.int64]) -> Logits:
    """The logits of these rows only."""
    inside = np.isin(logits.rows, rows)
    if inside.all():
        return logits
    return Logits(logits.rows[inside], logits.labels[inside], logits.logits[inside])


class LogitsCache:
    """The models' logits on splits.
    Each network is loaded once; each pass has its share of the progress.

    A frozen backbone is not run again: its logits are the last layer's on the features of the split.
    """

    def __init__(self, context: StageContext, *, passes: int) -> None:
        self._context, self.passes = context, Passes(context.run, passes)
        self._networks: dict[str, Network] = {}
        self._frozen: dict[str, FrozenFeatures] = {}
        self._images, self._seconds = 0, 0.0

    @property
    def images_per_second(self) -> float | None:
        """Throughput of the forward passes for `logits`; None before the first."""
        return round(self._images / self._seconds, 1) if self._seconds else None

    def network(self, model: ModelSpec) -> Network:
        if model.id not in self._networks:
            network, card = load(self._context, model)
            self._networks[model.id] = network
            if card.hyperparameters.get("freeze_backbone"):
                self._frozen[model.id] = FrozenFeatures(self._context, network, model=model.id)
        return self._networks[model.id]

    def logits(self, model: ModelSpec, split: str, *, keep: bool = False) -> Logits:
        """The logits of every sample of the split, in stored order; `keep` saves them for later stages."""
        file = self._logits_file(model, split)
        with self.passes.next() as run:
            if file.exists():
                with np.load(file) as columns:
                    return Logits(**columns)
            network, frozen = self.network(model), self._frozen.get(model.id)
            features = None if frozen is None else frozen.load(split, run)
            started = time.monotonic()
            logits = logits_of(self._context, network, split, run, features, model=model.id)
            if features is None:  # else there was no forward pass, for the throughput to count
                self._images += len(logits.rows)
                self._seconds += time.monotonic() - started
        if keep:
            _save(logits, file)
        return logits

    def features(
        self, model: ModelSpec, split: str, rows: NDArray[np.int64] | None = None, *, keep: bool = False
    ) -> Features:
        """The last layer's inputs and logits of these rows of the split, ascending; without `rows` of all,
        and `keep` then saves the logits for later stages.

        Raises HeadError unless the last layer is linear and sees one vector per image.
        """
        everything = self._context.store.rows(split)
        rows = everything if rows is None else rows
        network, frozen = self.network(model), self._frozen.get(model.id)
        with self.passes.next() as run:
            head = head_of(network)
            # Nothing else needs the rest of a split that only a part is asked of, and that nobody has read.
            if frozen is None or (len(rows) < len(everything) and not frozen.has(split)):
                features = compute_features(network, loader_for(self._context, network, rows, run), run)
            else:
                values = frozen.load(split, run)[np.searchsorted(everything, rows)]
                features = Features(rows, self._context.store.labels[rows], values, head.logits(values))
        if keep:
            _save(logits_in(features), self._logits_file(model, split))
        return features

    def _logits_file(self, model: ModelSpec, split: str) -> Path:
        return self._context.workspace.path / "logits" / f"{model.id}-{split}.npz"


def logits_in(features: Features) -> Logits:
    return Logits(features.rows, features.labels, features.logits)


def _save(logits: Logits, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    with replacing(file) as partial:
        np.savez(partial, **logits._asdict())
