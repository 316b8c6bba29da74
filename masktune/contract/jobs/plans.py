"""What a job would do and cost, the answer to `?dry_run=true`, and presets: hyperparameters by name."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from masktune.contract.base import ArmName, EstimateSourceName, KindName, Shape, StageName
from masktune.contract.jobs.job import JobInputs


class StageEstimate(Shape):
    """What a stage of a planned job may take."""

    stage: StageName
    seconds: float
    source: EstimateSourceName
    job: str | None = Field(None, description="Id of the job whose rate was measured; null for a guess.")


class JobEstimate(Shape):
    """What a planned job may cost."""

    seconds: float = Field(
        description="Of the stages and the start of the process, without the wait for a worker."
    )
    source: EstimateSourceName = Field(
        description="`measured` if that is true of at least nine tenths of the time of the stages."
    )
    device: str | None = Field(None, description="What the measured jobs ran on; null for a guess.")
    stages: list[StageEstimate]
    memory_bytes: int = Field(
        description="Approximate peak: libraries, weights, a batch, features. Of the host and a GPU together."
    )
    disk_bytes: int = Field(
        description="Approximate size of what the job leaves: models, checkpoints, features, masks."
    )


class JobPlan(Shape):
    """What a start would do: the answer to `?dry_run=true`. Nothing has been started."""

    kind: KindName
    dataset: str | None = Field(description="Null for a `source`, of which the start makes a data set.")
    params: dict[str, Any] = Field(description="Resolved in full: the `params` of the job.")
    inputs: JobInputs = Field(default_factory=JobInputs)
    models: list[ArmName] = Field([], description="The arms of the models that it would make.")
    estimate: JobEstimate | None = Field(
        description="Null until the images are imported: what the job costs depends on their number."
    )


class Preset(Shape):
    """Hyperparameters by name: one for each experiment of the paper."""

    name: str
    title: str = ""
    description: str = ""
    data: str | None = Field(None, description="The data it is meant for: `builtin:NAME` or `format:NAME`.")
    params: dict[str, Any] = Field({}, description="Fields of a job; fields left out keep their defaults.")
    released: dict[str, Any] = Field(
        {}, description="Further fields that `as_released` sets: what the paper's code does on these data."
    )


class Presets(Shape):
    """All of them."""

    data: list[Preset]
