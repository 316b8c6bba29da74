"""The first line on a child's stdin: all of the database that its stages read.

`worker.briefing` reads it: a child has no use for the database's library, which takes half a second to load.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Self

from core.vocabulary import Arm, JobKind, Stage


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
