"""What the sections of a report share: which arm is judged against which, and on which samples."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from masktune.contract.vocabulary import CONTROL_OF, Arm
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.run import Run
from models.types import Labels
from worker.networks.features import of_rows

BEFORE = (Arm.ERM, Arm.IMPORTED, Arm.BASELINE)
"""The arms that a treatment arm may have come from; the first one present counts."""
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
