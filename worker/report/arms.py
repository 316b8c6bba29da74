"""The models that a job compares, and their predictions on each split."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import JobError
from masktune.contract.vocabulary import CONTROLS, Arm, JobKind
from models.backbones import Network
from models.evaluation.metrics import Logits, predict_logits
from models.mitigation.features import head_of
from models.run import Run
from models.runtime.files import replacing
from worker.protocol import ModelSpec
from worker.stages.context import StageContext
from worker.stages.features import FrozenFeatures, is_frozen
from worker.stages.passes import Passes, loader_for
from worker.stages.training import load

BEFORE = (Arm.ERM, Arm.IMPORTED, Arm.BASELINE)
"""The arms that a judged model may have come from; the first one present counts."""


class Compared(NamedTuple):
    """The models by arm. `own`: those that the job trained or was given to evaluate; `all`: with the sources.

    A source is a model that an own one was made from; its arm is that of `arm_before`.
    """

    own: dict[Arm, ModelSpec]
    all: dict[Arm, ModelSpec]


def compared(context: StageContext) -> Compared:
    """The models of this job in the order of `Arm`: ERM, then the models made from it, then the controls."""
    made = [m["id"] for result in context.spec.done.values() for m in result.get("models", ()) if "id" in m]
    own = {context.model(id).arm: context.model(id) for id in made or [context.spec.model] if id}
    partners = [context.model(m.erm_id) for m in own.values() if m.erm_id in context.spec.models and m.erm_id]
    if context.spec.kind is JobKind.RETRAIN_HEAD and context.spec.model:
        partners.append(context.model(context.spec.model))  # its backbone may be a MaskTune model's
    everything = {arm_before(partner): partner for partner in partners} | own
    order = [arm for arm in Arm if arm in everything]
    _check_classes(context, everything)
    return Compared({arm: own[arm] for arm in order if arm in own}, {arm: everything[arm] for arm in order})


def arm_before(model: ModelSpec) -> Arm:
    """The arm under which a source model is compared. The control of another job is not this job's control,
    and an earlier retrained head is not the judged one: both are the `BASELINE`."""
    return Arm.BASELINE if model.arm in (*CONTROLS, Arm.RETRAINED) else model.arm


def seed_name(arm: Arm) -> str:
    """The arm's name in the seeds of intervals. It does not follow the arm's own name, so that the figures of
    the same models stay those of earlier versions."""
    return "control" if arm in CONTROLS else "given" if arm is Arm.BASELINE else arm.value


def judged_arm(arms: Collection[Arm]) -> Arm:
    """The arm that the others are compared with: the retrained head if there is one, else MaskTune."""
    return Arm.RETRAINED if Arm.RETRAINED in arms else Arm.MASKTUNE


def partner_of(context: StageContext, model: ModelSpec) -> ModelSpec | None:
    """The ERM model of the model's pair; None if it has none."""
    return context.spec.models.get(model.erm_id) if model.erm_id else None


def copies_in(context: StageContext, rows: NDArray[np.int64]) -> int:
    """How many of these rows are copies of an image in an earlier one of them."""
    return int((~context.store.firsts(rows)).sum())


def without_copies(context: StageContext, said: Logits) -> Logits:
    """Only the first of identical images: copies err together, but intervals assume independent samples."""
    return of_rows(said, said.rows[context.store.firsts(said.rows)])


def of_rows(said: Logits, rows: NDArray[np.int64]) -> Logits:
    """The logits of these rows only."""
    kept = np.isin(said.rows, rows)
    return said if kept.all() else Logits(said.rows[kept], said.labels[kept], said.logits[kept])


class Said:
    """The models' logits on splits. Each network is loaded once; each pass has its share of the progress.

    A frozen backbone is not run again: its logits are the last layer's on the features of the split.
    """

    def __init__(self, context: StageContext, *, passes: int) -> None:
        self._context, self._passes = context, Passes(context.run, passes)
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
            if is_frozen(card):
                self._frozen[model.id] = FrozenFeatures(self._context, network)
        return self._networks[model.id]

    def logits(self, model: ModelSpec, split: str, *, keep: bool = False) -> Logits:
        """The logits of every sample of the split, in stored order; `keep` saves them for later stages."""
        kept = self._context.workspace.folder("said") / f"{model.id}-{split}.npz"
        with self.counted() as run:
            if kept.exists():
                with np.load(kept) as columns:
                    return Logits(**columns)
            found = self._asked(model, split, run)
        if keep:
            kept.parent.mkdir(exist_ok=True)
            with replacing(kept) as file:
                np.savez(file, **found._asdict())
        return found

    def _asked(self, model: ModelSpec, split: str, run: Run) -> Logits:
        network, rows = self.network(model), self._context.store.rows(split)
        if model.id in self._frozen:  # no forward pass: it has no part in their throughput
            values = self._frozen[model.id].load(split, run)
            return Logits(rows, self._context.store.labels[rows], head_of(network).logits(values))
        started = time.monotonic()
        logits = predict_logits(network, loader_for(self._context, network, rows, run), run)
        self._images += len(rows)
        self._seconds += time.monotonic() - started
        return logits

    def counted(self) -> AbstractContextManager[Run]:
        """A run whose progress is reported as that of the next pass."""
        return self._passes.next()


def _check_classes(context: StageContext, models: dict[Arm, ModelSpec]) -> None:
    """Raise JobError if a model's classes are not the data set's: its answers would be counted wrongly."""
    for model in models.values():
        if model.classes != context.store.classes:
            raise JobError(
                "model_of_another_dataset",
                f"model {model.id} has the classes {', '.join(model.classes)}, but the data set has "
                f"{', '.join(context.store.classes)}; use a data set with the same classes",
            )


def each_split(context: StageContext, splits: list[str]) -> Iterator[str]:
    """Yield the splits that have samples; log the empty ones."""
    for split in splits:
        if len(context.store.rows(split)):
            yield split
        else:
            context.say(f"the split {split} has no samples and is left out")
