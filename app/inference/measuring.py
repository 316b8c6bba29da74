"""Measures an engine that answers unlike torch: its accuracy beside torch's, and a calibration of its own.

`val`, which selects the checkpoint, also decides here whether the engine is good enough. The calibration
split chooses nothing; it only gives the new tables, as it gives torch's in the worker's `calibrate` stage.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.inference.calibration import Calibration
from app.inference.types import Engine, Ground
from core.errors import Conflict
from models.data.decoding import stored_square
from models.data.store import Store
from models.evaluation.paired import Difference, paired_difference
from models.selective import Share, count_split, fit_temperature

MOST_WORSE = 0.01
"""How far an engine's accuracy on `val` may be below torch's."""
CHOOSING, CALIBRATING = "val", "calibration"
_BATCH = 16


@dataclass(frozen=True, eq=False)
class Answers:
    """An engine's `logits` and `erm_logits` (N, K) for samples `rows` (N,), with the true `labels` (N,)."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    erm_logits: NDArray[np.float32] | None

    @property
    def right(self) -> NDArray[np.bool_]:
        return np.asarray(self.logits.argmax(1) == self.labels)


class Measured(NamedTuple):
    """Result of a measurement. `calibration` is None if the engine may not answer; `why` has the figures."""

    calibration: Calibration | None
    why: str


def measure(
    candidate: Engine, torch_engine: Engine, ground: Ground, *, pause: Callable[[], None]
) -> Measured:
    """Run both engines on `val` and, if the candidate is good enough, on the calibration split.

    `pause` is called before each batch; an exception in it ends the measurement. Raises `Conflict` if the
    data set lacks one of the splits.
    """
    store = ground.store

    def asked(engine: Engine, split: str) -> Answers:
        return answers(engine, store, store.rows(split), pause=pause)

    rows = store.calibration_rows()  # the same samples as in the worker's calibration
    for split, samples in ((CHOOSING, store.rows(CHOOSING)), (CALIBRATING, rows)):
        if not len(samples):
            raise Conflict(f"the data set that it was calibrated on has no {split} samples to measure with")
    chosen_on = asked(candidate, CHOOSING)
    gap = difference(chosen_on, asked(torch_engine, CHOOSING))
    on_val = f"{gap.estimate:+.4f} ({gap.low:+.4f} … {gap.high:+.4f}) on {gap.n} {CHOOSING} samples"
    if not fit(gap):
        return Measured(None, f"its accuracy less torch's is {on_val} (allowed: {-MOST_WORSE:g})")
    own, torchs = (answers(engine, store, rows, pause=pause) for engine in (candidate, torch_engine))
    temperature = fit_temperature(chosen_on.logits, chosen_on.labels)
    found = calibrated(own, store, temperature=temperature, stands_for=ground.calibration)
    return Measured(
        found,
        f"accuracy {own.right.mean():.4f}, torch's {torchs.right.mean():.4f}, on n = {len(own.rows)} "
        f"{CALIBRATING} samples; the difference is {on_val}; calibration {found.id}",
    )


def answers(engine: Engine, store: Store, rows: NDArray[np.int64], *, pause: Callable[[], None]) -> Answers:
    """Run the engine on the samples `rows` (N,), N ≥ 1, decoded as the worker decodes them."""
    logits, erm_logits = [], []
    for first in range(0, len(rows), _BATCH):
        pause()
        said = engine.run(squares(store, rows[first : first + _BATCH], engine.image_size), None)
        logits.append(said.logits)
        if said.erm_logits is not None:
            erm_logits.append(said.erm_logits)
    erm = np.concatenate(erm_logits) if erm_logits else None
    return Answers(rows, store.labels[rows], np.concatenate(logits), erm)


def squares(store: Store, rows: NDArray[np.int64], size: int) -> NDArray[np.uint8]:
    """Decode the samples `rows` (N,) to (N, 3, size, size)."""
    return np.stack([stored_square(store.image_bytes(row), size).numpy() for row in rows.tolist()])


def difference(candidate: Answers, torchs: Answers) -> Difference:
    """Return the candidate's accuracy minus torch's, on the same samples."""
    return paired_difference(candidate.right, torchs.right, generator=np.random.default_rng(0))


def fit(gap: Difference) -> bool:
    """Whether an engine with this difference may answer. Compares counts, which have no rounding error."""
    return gap.b_only - gap.a_only <= MOST_WORSE * gap.n


def calibrated(said: Answers, store: Store, *, temperature: float, stands_for: str) -> Calibration:
    """Make a calibration of an engine's answers on the calibration split; its id is a content digest."""
    counted = count_split(
        said.logits,
        said.erm_logits,
        said.labels,
        classes=store.classes,
        groups=store.groups[said.rows],
        group_names=store.group_names,
    )
    content = [stands_for, temperature, {name: table.to_json() for name, table in counted.scores.items()}]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return Calibration(
        f"cal_{digest[:26]}",
        time.time(),
        *counted,
        disagreement=_disagreement(said),
        temperature=temperature,
        stands_for=stands_for,
    )


def _disagreement(said: Answers) -> Share | None:
    if said.erm_logits is None:
        return None
    return Share(int((said.logits.argmax(1) != said.erm_logits.argmax(1)).sum()), len(said.rows))
