"""What a job has inferred of the samples of its data set: whose class's pattern each shows, and whether its
label looks wrong. It is in the artifact of the stage that infers groups."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, NamedTuple

import numpy as np
from fastapi import Depends, Query
from sqlalchemy.orm import Session

from app.datasets.service import LoadedDataset
from app.http.deps import ArtifactsDep, DatabaseDep
from core.errors import InvalidInput
from core.storage.artifacts import Artifacts
from core.tables import JobRow
from masktune.contract.base import JobRef
from masktune.contract.samples import InferredPattern
from masktune.contract.vocabulary import Stage
from models.data.store import Store
from models.types import Bools, Floats, Labels

FILE = "samples.npz"
_WRONG = 0.5
"""The doubt above which a label looks wrong, here as in the job's report."""


class InferredSamples(NamedTuple):
    """What `job` has inferred of all samples of a data set: `patterns` (N,), the class whose pattern each
    shows, −1 where that is not known, and `label_doubt` (N,), the probability that its label is wrong."""

    job: str
    patterns: Labels
    label_doubt: Floats

    def lacking(self, labels: Labels, *, lacks: bool) -> Bools:
        """(N,), of samples with these labels: which lack the pattern of their class, or which show it."""
        return np.asarray((self.patterns >= 0) & ((self.patterns != labels) == lacks))

    @property
    def labels_look_wrong(self) -> Bools:
        """(N,)."""
        return np.asarray(self.label_doubt > _WRONG)

    def describe(self, store: Store, row: int) -> InferredPattern:
        pattern, doubt = int(self.patterns[row]), float(self.label_doubt[row])
        return InferredPattern(
            job=self.job,
            pattern=None if pattern < 0 else store.classes[pattern],
            lacks_pattern=None if pattern < 0 else pattern != int(store.labels[row]),
            label_looks_wrong=doubt > _WRONG,
            label_doubt=doubt,
        )

    def columns(self, store: Store, rows: Labels) -> dict[str, list[object]]:
        """The same of these rows, as columns of a table."""
        patterns, labels = self.patterns[rows].tolist(), store.labels[rows].tolist()
        names = (*store.classes, None)  # the last of them for −1
        return {
            "inferred_by": [self.job] * len(rows),
            "inferred_pattern": [names[pattern] for pattern in patterns],
            "inferred_lacks_pattern": [
                None if pattern < 0 else pattern != label
                for pattern, label in zip(patterns, labels, strict=True)
            ],
            "inferred_label_looks_wrong": self.labels_look_wrong[rows].tolist(),
            "inferred_label_doubt": self.label_doubt[rows].tolist(),
        }


def read(session: Session, artifacts: Artifacts, dataset: str, job_id: str) -> InferredSamples:
    """What the job has inferred.
    Raises `InvalidInput` if it is not one of the data set, or has named no pattern."""
    job = session.get(JobRow, job_id)
    if job is None or job.dataset_id != dataset:
        raise InvalidInput.field("?inferred_by", "unknown", f"data set {dataset} has no job {job_id}")
    groups = job.done.get(Stage.INFER_GROUPS, {})
    if not groups.get("judges"):
        raise InvalidInput.field(
            "?inferred_by",
            "no-patterns",
            f"job {job_id} has not inferred whose pattern an image shows: name one with a link `samples`",
        )
    return InferredSamples(job_id, *_arrays(artifacts, groups["artifact"]))


@lru_cache(maxsize=16)
def _arrays(artifacts: Artifacts, key: str) -> tuple[Labels, Floats]:
    with np.load(artifacts.file(key, FILE), allow_pickle=False) as arrays:
        return arrays["patterns"], arrays["label_doubt"]


def _inferred(
    row: LoadedDataset,
    database: DatabaseDep,
    artifacts: ArtifactsDep,
    inferred_by: Annotated[
        JobRef | None,
        Query(
            description="A job on the data set: each sample then has `inferred`, what that job guessed of it."
        ),
    ] = None,
) -> InferredSamples | None:
    if inferred_by is None:
        return None
    with database.read() as session:
        return read(session, artifacts, row.id, inferred_by)


InferredDep = Annotated[InferredSamples | None, Depends(_inferred)]
"""None if the request names no job."""


class PatternFilters(NamedTuple):
    """Which samples are listed, by what a job has inferred of them; all that is not None must hold."""

    pattern: str | None = None
    lacks_pattern: bool | None = None
    label_looks_wrong: bool | None = None


async def _pattern_filters(
    pattern: Annotated[
        str | None,
        Query(max_length=200, description="Only samples that show the pattern of this class, by name."),
    ] = None,
    lacks_pattern: Annotated[
        bool | None,
        Query(description="Only samples that lack the pattern of their class, or only those that show it."),
    ] = None,
    label_looks_wrong: Annotated[
        bool | None,
        Query(description="Only samples whose label looks wrong, or only the others."),
    ] = None,
) -> PatternFilters:
    return PatternFilters(pattern, lacks_pattern, label_looks_wrong)


PatternFiltersDep = Annotated[PatternFilters, Depends(_pattern_filters)]
"""They need `inferred_by`."""
