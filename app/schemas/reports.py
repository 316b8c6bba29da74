"""Shape of a job's before/after report: the outline; every figure in it carries its n and interval."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Report(BaseModel):
    """What a job's models do on splits that trained none of them. Arms: erm, masktune, control, imported."""

    model_config = ConfigDict(extra="allow")

    version: int
    job: str
    kind: str
    created_at: float = Field(description="Seconds since 1970.")
    dataset: dict[str, Any] = Field(description="id, name, classes, groups, samples of each split.")
    models: dict[str, Any] = Field(description="By arm: id, backbone, image size.")
    metrics: dict[str, Any] = Field(description="By split and arm: accuracies, by class and group.")
    reliability: dict[str, Any] = Field(
        description="By split and arm: how far probabilities are to be believed."
    )
    differences: dict[str, Any] = Field(description="By split: MaskTune minus each other arm, paired.")
    verdict: dict[str, Any] | None = Field(
        description="helped, no_detectable_effect or hurt, and what decided it."
    )
    disagreement: dict[str, Any] = Field(
        description="By split: how often ERM and MaskTune answer differently."
    )
    masks: dict[str, Any] | None = Field(description="What was masked of the training images.")
    cost: list[dict[str, Any]] = Field(description="Seconds, images per second and device of each stage.")
    gallery: dict[str, Any] | None = Field(description="The same images under each model, picked by rule.")
