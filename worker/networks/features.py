"""The features and logits of a network on each split: read, or computed by a forward pass and kept.

*Last features* are the inputs of the last layer. *Early features* are coordinates of the outputs of early
stages, from which groups are inferred. Those of a frozen backbone serve other jobs too: they are artifacts of
the data set, `features/{data set}/{digest}-{part}`. Those of a network that was trained whole lie in the work
folder of the job, and go with it. The parts:

    {split}         `values.npy`, (N, D) float32: the last features of the split in stored order
    early           the axes of the early stages, and the training split's coordinates along them, as
                    `StageFeatures.load` reads them
    early-{split}   `early-N.npy`: the coordinates of another split along the same axes

The digest is of the weights below the last layer, the input size and the data set, so that no part is ever
out of date.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from core.storage.artifacts import ArtifactMissing
from masktune.contract.hyperparameters import Crop
from models.backbones.network import Network
from models.data.loading.batches import StoreLoader, make_loader
from models.evaluation.metrics import Logits
from models.export import ModelCard
from models.mitigation.features import Features, compute_features, head_of
from models.mitigation.stage_features import StageFeatures
from models.mitigation.stages import early_stages
from models.run import Progress, Run
from models.training.frozen import FeatureSource, backbone_digest
from worker.context import StageContext
from worker.networks.passes import (
    UNTRAINED,
    NetworkPass,
    evaluation_settings,
    save_training_split,
    write_columns,
)
from worker.networks.training import load
from worker.results import ModelSpec

VALUES, EARLY = "values.npy", "early"


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
    features = NetworkFeatures(context, network, frozen=True, model=model)
    passes = Passes(context.run, _TRAIN + 2)

    def values(split: str) -> NDArray[np.float32]:
        with passes.next(_TRAIN if split == "train" else 1) as run:
            # The next stage reads early features: one pass computes all.
            if context.infers_groups and split == "train":
                return features.stages(run).last.values
            return features.values(split, run)

    return values


def job_features_key(context: StageContext) -> str:
    """The parent of the features of networks that the job trains whole with the context's seed."""
    return f"{context.workspace.key}/features-{context.seed}"


class NetworkFeatures:
    """The last and early features of one network on each split, and the logits of its last layer.

    `frozen`: whether other jobs may have the same backbone; `model` as in `NetworkPass`. Whatever asks for
    features raises HeadError unless the last layer is linear and sees one vector per image.
    """

    def __init__(self, context: StageContext, network: Network, *, frozen: bool, model: str | None) -> None:
        assert context.spec.dataset is not None
        self._context, self._network = context, network
        self._frozen, self._model = frozen, model
        parent = f"features/{context.spec.dataset.id}" if frozen else job_features_key(context)
        identity = f"{backbone_digest(network)} {context.store.digest}"
        digest = hashlib.sha256(identity.encode()).hexdigest()[:32]
        self._key = f"{parent}/{digest}"

    @classmethod
    def of_model(cls, context: StageContext, network: Network, card: ModelCard, model: ModelSpec) -> Self:
        """Those of a model of the registry."""
        frozen = bool(card.hyperparameters.get("freeze_backbone"))
        return cls(context, network, frozen=frozen, model=model.id)

    def values(self, split: str, run: Run) -> NDArray[np.float32]:
        """The last features (N, D), mapped from their file; what is written to them stays in memory."""
        folder = self._folder(split) or self._save_split(split, run)
        run.on_progress(Progress(1, 1, 1, 1, 0.0))
        # Not "r": torch would warn that it cannot write to its share of the memory.
        values: NDArray[np.float32] = np.load(folder / VALUES, mmap_mode="c")
        return values

    def last(self, split: str, run: Run, rows: NDArray[np.int64] | None = None) -> Features:
        """The last features and the logits of these rows of the split, ascending; without `rows` of all."""
        head, store = head_of(self._network), self._context.store
        everything = store.rows(split)
        rows = everything if rows is None else rows
        # Nothing else needs the rest of a split that only a part is asked of, and that nobody has read.
        if len(rows) < len(everything) and self._folder(split) is None:
            loader = loader_for(self._context, self._network, rows, run)
            return compute_features(self._network, loader, run)
        values = self.values(split, run)
        if len(rows) < len(everything):
            values = values[np.searchsorted(everything, rows)]
        return Features(rows, store.labels[rows], values, head.logits(values))

    def stages(self, run: Run) -> StageFeatures:
        """The last and early features of the training split, mapped from their files."""
        folder = self._folder(EARLY) or self._save_stages(run)
        return StageFeatures.load(folder, self.last("train", run))

    def early(self, split: str, stage: str, run: Run) -> NDArray[np.float16]:
        """(N, P): the coordinates of a split, other than train, in this early stage, along the axes of
        `stages`."""
        part = f"{EARLY}-{split}"
        if (folder := self._folder(part)) is None:
            self._save_split(split, run)
            folder = self._context.artifacts.folder(f"{self._key}-{part}")
        number = [one.name for one in early_stages(self._network)].index(stage)
        coordinates: NDArray[np.float16] = np.load(folder / f"early-{number}.npy", mmap_mode="r")
        return coordinates

    def logits(self, split: str, run: Run) -> tuple[Logits, float | None]:
        """The logits of every sample of the split, in stored order, of any network; and the images per second
        of the forward pass, None if there was none."""
        if self._frozen or self._folder(split) is not None:
            return logits_in(self.last(split, run)), None
        store = self._context.store
        rows = store.rows(split)
        sharded = NetworkPass(self._context, self._network, "logits", split=split, model=self._model)
        counts = self._context.compute_shards(sharded, run.on_progress)
        logits = np.concatenate([columns["logits"] for _, columns in sharded.parts()])
        return Logits(rows, store.labels[rows], logits), counts.images_per_second

    def _folder(self, part: str) -> Path | None:
        """The part's artifact; None if it is not there."""
        try:
            return self._context.artifacts.folder(f"{self._key}-{part}")
        except ArtifactMissing:
            return None

    def _save_split(self, split: str, run: Run) -> Path:
        """Once axes are there, the coordinates along them come with the same pass."""
        artifacts, axes = self._context.artifacts, f"{self._key}-{EARLY}"
        stages = early_stages(self._network) if artifacts.exists(axes) else ()
        sharded = NetworkPass(
            self._context,
            self._network,
            "early" if stages else "values",
            split=split,
            model=self._model,
            axes=axes if stages else None,
        )
        self._context.compute_shards(sharded, run.on_progress)
        early = {f"early-{number}" for number in range(len(stages))}
        columns = early if self._folder(split) else early | {"values"}
        part = f"{EARLY}-{split}" if early else split
        with artifacts.writing(f"{self._key}-{part}") as target:
            write_columns(target, sharded.parts(), self._context.store.rows(split), columns)
            if early and "values" in columns:
                self._move_values(target, split)
        artifacts.delete(self._context.key_of(sharded))
        return artifacts.folder(f"{self._key}-{split}")

    def _save_stages(self, run: Run) -> Path:
        key = f"{self._key}-{EARLY}"
        with self._context.artifacts.writing(key) as target:
            save_training_split(self._context, self._network, run, target, model=self._model)
            self._move_values(target, "train")
        return self._context.artifacts.folder(key)

    def _move_values(self, folder: Path, split: str) -> None:
        """From the `folder` of early stages to the split's own."""
        with self._context.artifacts.writing(f"{self._key}-{split}") as target:
            (folder / VALUES).rename(target / VALUES)


def logits_in(features: Features) -> Logits:
    return Logits(features.rows, features.labels, features.logits)


def of_rows(logits: Logits, rows: NDArray[np.int64]) -> Logits:
    """The logits of these rows only."""
    inside = np.isin(logits.rows, rows)
    if inside.all():
        return logits
    return Logits(logits.rows[inside], logits.labels[inside], logits.logits[inside])


class LogitsCache:
    """The models' features and logits on splits.
    Each network is loaded once; each pass has its share of the progress."""

    def __init__(self, context: StageContext, *, passes: int) -> None:
        self._context, self.passes = context, Passes(context.run, passes)
        self._networks: dict[str, tuple[Network, NetworkFeatures]] = {}
        self._images, self._seconds = 0, 0.0

    @property
    def images_per_second(self) -> float | None:
        """Throughput of the forward passes for `logits`; None before the first."""
        return round(self._images / self._seconds, 1) if self._seconds else None

    def network(self, model: ModelSpec) -> Network:
        return self._loaded(model)[0]

    def logits(self, model: ModelSpec, split: str) -> Logits:
        """The logits of every sample of the split, in stored order."""
        _, features = self._loaded(model)
        with self.passes.next() as run:
            logits, pace = features.logits(split, run)
        if pace:
            self._images += len(logits.rows)
            self._seconds += len(logits.rows) / pace
        return logits

    def features(self, model: ModelSpec, split: str, rows: NDArray[np.int64] | None = None) -> Features:
        """As `NetworkFeatures.last`."""
        _, features = self._loaded(model)
        with self.passes.next() as run:
            return features.last(split, run, rows)

    def _loaded(self, model: ModelSpec) -> tuple[Network, NetworkFeatures]:
        if model.id not in self._networks:
            network, card = load(self._context, model)
            features = NetworkFeatures.of_model(self._context, network, card, model)
            self._networks[model.id] = network, features
        return self._networks[model.id]
