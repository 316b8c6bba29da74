"""The first line on a child's stdin: everything from the database that its stages need.

`worker.supervisor.spec_builder` builds it, so that the child need not import SQLAlchemy, which takes half a
second.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Self

from masktune.contract.vocabulary import Arm, JobKind, Stage


@dataclass(frozen=True)
class DatasetSpec:
    """A data set. `source` and `options` are for its import, the other fields for all other jobs.

    `shortcuts` is the finding of the import (`models.shortcuts.ShortcutCheck` as JSON).
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
    """The mask set that a mask job made, and the id of the model whose saliency maps it is made of."""

    job_id: str
    artifact: str
    model_id: str


@dataclass(frozen=True)
class Spec:
    """A job as its child sees it. `stages` are still to run; `done` holds the results of the finished ones.

    `model` is the id of the model that the job was given, either directly or through its mask set.
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
    """Id of the request that started the job, for the log."""
    model: str | None = None
    dataset: DatasetSpec | None = None
    mask_set: MaskSetSpec | None = None
    models: dict[str, ModelSpec] = field(default_factory=dict)

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
