"""The models that a job compares, and what they say of a split."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import JobError
from core.vocabulary import Arm, JobKind
from models.backbones import Network
from models.config import Crop
from models.data.batches import LoaderSettings, StoreLoader, make_loader
from models.evaluate import Logits, predict_logits
from models.files import replacing
from models.run import Progress, Run
from worker.spec import ModelSpec
from worker.stages.context import StageContext
from worker.stages.training import load

BEFORE = (Arm.ERM, Arm.IMPORTED, Arm.GIVEN)
"""What a judged model may have come from, the first of them that there is."""
_SMALL, _SMALL_BATCH, _LARGE_BATCH = 64, 256, 32
"""Images of up to 64 px are evaluated 256 at a time, larger ones 32."""


class Compared(NamedTuple):
    """`own`: the models that the job made, or was given to evaluate; `all`: with those that they came from.

    By arm; those that they came from by `arm_before`.
    """

    own: dict[Arm, ModelSpec]
    all: dict[Arm, ModelSpec]


def compared(context: StageContext) -> Compared:
    """ERM first, then what came of it, then the control."""
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
    """Under which arm a model is compared that another one came from: a control of another job is none of
    this one's, and a head that was retrained before is not the one that is judged."""
    return Arm.GIVEN if model.arm in (Arm.CONTROL, Arm.RETRAINED) else model.arm


def judged_arm(arms: Collection[Arm]) -> Arm:
    """The one that the others are compared with: a retrained head where there is one, else MaskTune."""
    return Arm.RETRAINED if Arm.RETRAINED in arms else Arm.MASKTUNE


def partner_of(context: StageContext, model: ModelSpec) -> ModelSpec | None:
    """The ERM half of the model's pair."""
    return context.spec.models.get(model.erm_id) if model.erm_id else None


def copies_in(context: StageContext, rows: NDArray[np.int64]) -> int:
    """How many of these rows show a picture that stands among them before."""
    return int((~context.store.firsts(rows)).sum())


def without_copies(context: StageContext, said: Logits) -> Logits:
    """Each picture once: a copy errs with its first, and intervals take samples to be independent."""
    return of_rows(said, said.rows[context.store.firsts(said.rows)])


def of_rows(said: Logits, rows: NDArray[np.int64]) -> Logits:
    """What was said of these rows."""
    kept = np.isin(said.rows, rows)
    return said if kept.all() else Logits(said.rows[kept], said.labels[kept], said.logits[kept])


def loader_for(
    context: StageContext,
    network: Network,
    rows: NDArray[np.int64],
    run: Run | None = None,
    *,
    crop: Crop = "none",
) -> StoreLoader:
    """These rows in stored order, at the size that the network sees; cropped for maps alone."""
    size = network.spec.image_size
    settings = LoaderSettings(size, _SMALL_BATCH if size <= _SMALL else _LARGE_BATCH, crop=crop)
    return make_loader(context.store, rows, settings, run or context.run)


class Said:
    """What models say of splits: each is asked once, and its progress is counted among the others'."""

    def __init__(self, context: StageContext, *, passes: int) -> None:
        self._context, self._passes, self._passed = context, passes, 0
        self._networks: dict[str, Network] = {}
        self._images, self._seconds = 0, 0.0

    @property
    def images_per_second(self) -> float | None:
        """Of the passes for `logits`; None where there was none."""
        return round(self._images / self._seconds, 1) if self._seconds else None

    def network(self, model: ModelSpec) -> Network:
        if model.id not in self._networks:
            self._networks[model.id] = load(self._context, model)[0]
        return self._networks[model.id]

    def logits(self, model: ModelSpec, split: str, *, keep: bool = False) -> Logits:
        """Of every sample of the split, in stored order. `keep` it for the job's later stages."""
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
        network, started = self.network(model), time.monotonic()
        found = predict_logits(
            network, loader_for(self._context, network, self._context.store.rows(split), run), run
        )
        self._images += len(found.rows)
        self._seconds += time.monotonic() - started
        return found

    def counted(self) -> _Counted:
        """A run whose progress is one of `passes` passes."""
        passed, self._passed = self._passed, self._passed + 1
        return _Counted(self._context.run, passed, max(self._passes, self._passed))


class _Counted:
    def __init__(self, run: Run, passed: int, passes: int) -> None:
        self._run, self._passed, self._passes = run, passed, passes

    def __enter__(self) -> Run:
        return replace(self._run, on_progress=self._report)

    def __exit__(self, *error: object) -> None:
        """Nothing is held."""

    def _report(self, progress: Progress) -> None:
        """Passes become the steps of one epoch; whole counts keep the fraction exact."""
        steps = progress.steps * self._passes
        done = progress.steps * self._passed + (progress.step if progress.epoch == 0 else progress.steps)
        self._run.on_progress(Progress(0, 1, done, steps, progress.images_per_second))


def _check_classes(context: StageContext, models: dict[Arm, ModelSpec]) -> None:
    """A model answers with its own classes: those of another list would be counted wrong silently."""
    for model in models.values():
        if model.classes != context.store.classes:
            raise JobError(
                "model_of_another_dataset",
                f"model {model.id} knows the classes {', '.join(model.classes)}, the data set has "
                f"{', '.join(context.store.classes)}; use a data set with the same list of classes",
            )


def each_split(context: StageContext, splits: list[str]) -> Iterator[str]:
    """Those of the splits that have samples; the others are said to be empty."""
    for split in splits:
        if len(context.store.rows(split)):
            yield split
        else:
            context.say(f"the split {split} has no samples and is left out")
