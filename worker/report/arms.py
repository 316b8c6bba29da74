"""The models that a job compares, and their predictions on each split."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import JobError
from masktune.contract.vocabulary import CONTROL_OF, CONTROLS, Arm, JobKind
from models.backbones.network import Network
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.run import Run
from models.runtime.files import replacing
from models.types import Labels
from worker.protocol import ModelSpec
from worker.stages.context import StageContext
from worker.stages.features import FrozenFeatures
from worker.stages.passes import Passes, logits_of
from worker.stages.training import load

BEFORE = (Arm.ERM, Arm.IMPORTED, Arm.BASELINE)
"""The arms that a treatment arm may have come from; the first one present counts."""


class ComparedModels(NamedTuple):
    """The models by arm. `own`: those that the job trained or was given to evaluate; `all`: with the sources.

    A source is a model that an own one was made from; its arm is that of `arm_before`. The models of another
    job that are judged are all own.
    """

    own: dict[Arm, ModelSpec]
    all: dict[Arm, ModelSpec]


def compared_models(context: StageContext) -> ComparedModels:
    """The models of this job in the order of `Arm`: ERM, then the models made from it, then the controls.

    Raises JobError if a model's classes are not the data set's.
    """
    trained = [
        model["id"]
        for stage_output in context.spec.done.values()
        for model in stage_output.get("models", ())
        if "id" in model
    ]
    specs, judged = context.spec.models, context.spec.judged
    own = {specs[id].arm: specs[id] for id in trained or [context.spec.model] if id}
    partners = [specs[model.erm_id] for model in own.values() if model.erm_id and model.erm_id in specs]
    if context.spec.kind is JobKind.RETRAIN_HEAD and context.spec.model:
        partners.append(specs[context.spec.model])  # its backbone may be a MaskTune model's
    everything = {arm_before(partner): partner for partner in partners} | own
    if judged is not None:
        own = everything = {arm: specs[id] for arm, id in judged.models.items()}
    for model in everything.values():
        if model.classes != context.store.classes:  # its answers would be counted wrongly
            raise JobError(
                "model_of_another_dataset",
                f"model {model.id} has the classes {', '.join(model.classes)}, but the data set has "
                f"{', '.join(context.store.classes)}; use a data set with the same classes",
            )
    order = [arm for arm in Arm if arm in everything]
    return ComparedModels(
        {arm: own[arm] for arm in order if arm in own}, {arm: everything[arm] for arm in order}
    )


def arm_before(model: ModelSpec) -> Arm:
    """The arm under which a source model is compared. The control of another job is not this job's control,
    and an earlier retrained head is not its treatment arm: both are the `BASELINE`."""
    return Arm.BASELINE if model.arm in (*CONTROLS, Arm.RETRAINED) else model.arm


TREATMENTS = (Arm.RETRAINED, Arm.MASKTUNE)
"""What is judged: the models that are made against a shortcut."""


def rival_of(treatment: Arm, arms: Collection[Arm], before: Arm | None) -> Arm | None:
    """The arm that a treatment is judged against: its control, else the model that it was made from."""
    return next((arm for arm in (CONTROL_OF[treatment], before) if arm in arms), None)


def seeded(run: Run, *path: str) -> np.random.Generator:
    """A generator seeded by job and `path`, so that all attempts draw the same intervals."""
    return np.random.default_rng([run.seed & 0xFFFFFFFF, *"/".join(path).encode()])


def clusters_of(store: Store, rows: Labels) -> Labels | None:
    """(N,) equal where two of these rows are of one subject; None in a data set without subjects, where each
    image counts as independent."""
    return store.clusters(rows) if store.has_subjects else None


def without_copies(store: Store, logits: Logits) -> Logits:
    """Only the first of identical images: copies err together, but intervals assume independent samples."""
    return of_rows(logits, logits.rows[store.firsts(logits.rows)])


def of_rows(logits: Logits, rows: NDArray[np.int64]) -> Logits:
    """The logits of these rows only."""
    inside = np.isin(logits.rows, rows)
    if inside.all():
        return logits
    return Logits(logits.rows[inside], logits.labels[inside], logits.logits[inside])


class LogitsCache:
    """The models' logits on splits. Each network is loaded once; each pass has its share of the progress.

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
                self._frozen[model.id] = FrozenFeatures(self._context, network)
        return self._networks[model.id]

    def logits(self, model: ModelSpec, split: str, *, keep: bool = False) -> Logits:
        """The logits of every sample of the split, in stored order; `keep` saves them for later stages."""
        file = self._context.workspace.path / "logits" / f"{model.id}-{split}.npz"
        with self.passes.next() as run:
            if file.exists():
                with np.load(file) as columns:
                    return Logits(**columns)
            network, frozen = self.network(model), self._frozen.get(model.id)
            features = None if frozen is None else frozen.load(split, run)
            started = time.monotonic()
            logits = logits_of(self._context, network, split, run, features)
            if features is None:  # else there was no forward pass, for the throughput to count
                self._images += len(logits.rows)
                self._seconds += time.monotonic() - started
        if keep:
            file.parent.mkdir(exist_ok=True)
            with replacing(file) as partial:
                np.savez(partial, **logits._asdict())
        return logits
