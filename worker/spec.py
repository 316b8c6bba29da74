"""The first line on a child's stdin: all of the database that its stages read."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy.orm import Session

from core.queries import datasets, jobs, registry
from core.tables import DatasetRow, JobRow, ModelRow
from core.vocabulary import STAGES, Arm, JobKind, Stage


@dataclass(frozen=True)
class DatasetSpec:
    """A data set. `source` and `options` matter to its import, the rest to everybody else.

    `shortcuts`: what its import found (`models.shortcuts.ShortcutCheck` as JSON).
    """

    id: str
    name: str
    format: str
    source: dict[str, Any]
    options: dict[str, Any]
    artifact: str | None
    classes: tuple[str, ...]
    shortcuts: dict[str, Any] | None = None


@dataclass(frozen=True)
class ModelSpec:
    """A model of the registry."""

    id: str
    arm: Arm
    artifact: str
    erm_id: str | None
    job_id: str | None
    dataset_id: str | None
    classes: tuple[str, ...]
    backbone: str
    calibration: dict[str, Any] | None


@dataclass(frozen=True)
class MaskSetSpec:
    """What a mask job made, and of which model (its id)."""

    job_id: str
    artifact: str
    model_id: str


@dataclass(frozen=True)
class Spec:
    """A job as its child sees it. `stages`: those still to do; `done`: what the others reported.

    `model` is the id of the model that the job was given, directly or by its mask set.
    """

    job_id: str
    kind: JobKind
    attempt: int
    stages: tuple[Stage, ...]
    done: dict[str, Any]
    params: dict[str, Any]
    inputs: dict[str, Any]
    slot: int
    request_id: str | None = None
    """Of the request that started the job: for the log."""
    model: str | None = None
    dataset: DatasetSpec | None = None
    mask_set: MaskSetSpec | None = None
    models: dict[str, ModelSpec] = field(default_factory=dict)

    @classmethod
    def build(cls, session: Session, job: JobRow, *, slot: int) -> Self:
        """Read what the job needs. Raises `NotFound` or `DatasetNotReady` when it is gone."""
        mask_set = _mask_set(session, job)
        given = mask_set.model_id if mask_set else job.inputs.get("model")
        model = registry.get(session, given).id if given else None
        names = [*filter(None, [model]), *job.models.values(), *_named(job)]
        return cls(
            job_id=job.id,
            kind=job.kind,
            attempt=job.attempt,
            stages=tuple(s for s in STAGES[job.kind] if s not in job.done and _wanted(s, job)),
            done=job.done,
            params=job.params,
            inputs=job.inputs,
            slot=slot,
            request_id=job.request_id,
            model=model,
            dataset=_dataset(session, job),
            mask_set=mask_set,
            models=_models(session, names),
        )

    def to_line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        raw = json.loads(line)
        raw |= {
            "kind": JobKind(raw["kind"]),
            "stages": tuple(Stage(s) for s in raw["stages"]),
            "dataset": raw["dataset"]
            and DatasetSpec(**raw["dataset"] | {"classes": tuple(raw["dataset"]["classes"])}),
            "mask_set": raw["mask_set"] and MaskSetSpec(**raw["mask_set"]),
            "models": {
                id: ModelSpec(**m | {"arm": Arm(m["arm"]), "classes": tuple(m["classes"])})
                for id, m in raw["models"].items()
            },
        }
        return cls(**raw)


def _wanted(stage: Stage, job: JobRow) -> bool:
    """The control can be switched off; every other stage of a kind is run."""
    return stage is not Stage.CONTROL or bool(job.params.get("control", True))


def _dataset(session: Session, job: JobRow) -> DatasetSpec | None:
    if job.dataset_id is None:
        return None
    importing = job.kind is JobKind.IMPORT
    row: DatasetRow = (datasets.get if importing else datasets.get_ready)(session, job.dataset_id)
    return DatasetSpec(
        id=row.id,
        name=row.name,
        format=row.format,
        source=row.source,
        options=row.options,
        artifact=row.artifact,
        classes=tuple(row.classes),
        shortcuts=(row.summary or {}).get("shortcuts"),
    )


def _mask_set(session: Session, job: JobRow) -> MaskSetSpec | None:
    name = job.inputs.get("mask_set")
    if name is None:
        return None
    maker = jobs.get(session, name)
    return MaskSetSpec(maker.id, maker.done[Stage.MASK]["artifact"], maker.inputs["model"])


def _named(job: JobRow) -> list[str]:
    """Models in the parameters: what a training starts from, when it is one of ours; a second opinion."""
    named = (job.params.get("pretrained"), job.params.get("second_model"))
    return [name for name in named if isinstance(name, str)]


def _models(session: Session, names: list[str]) -> dict[str, ModelSpec]:
    """The models by id, and the ERM halves of their pairs."""
    found: dict[str, ModelSpec] = {}
    waiting = list(names)
    while waiting:
        row: ModelRow = registry.get(session, waiting.pop())
        if row.id not in found:
            found[row.id] = ModelSpec(
                id=row.id,
                arm=row.arm,
                artifact=row.artifact,
                erm_id=row.erm_id,
                job_id=row.job_id,
                dataset_id=row.dataset_id,
                classes=tuple(row.classes),
                backbone=row.backbone,
                calibration=row.calibration,
            )
            waiting += [row.erm_id] if row.erm_id else []
    return found
