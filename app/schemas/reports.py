"""Shape of a job's before/after report: the outline; every figure in it carries its n and interval."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Report(BaseModel):
    """What a job's models do on splits that trained none of them.

    Arms: erm, masktune, retrained, control, imported.
    """

    model_config = ConfigDict(extra="allow")

    version: int
    job: str
    kind: str
    created_at: float = Field(description="Seconds since 1970.")
    dataset: dict[str, Any] = Field(description="id, name, classes, groups, samples of each split.")
    models: dict[str, Any] = Field(description="By arm: id, backbone, image size.")
    metrics: dict[str, Any] = Field(description="By split and arm: accuracies, by class and group.")
    reliability: dict[str, Any] = Field(
        description="By split and arm: how far probabilities are to be believed, over the answers that are "
        "finite numbers (`non_finite` others); null where none is."
    )
    differences: dict[str, Any] = Field(
        description="By split: MaskTune or the retrained head minus each other arm, paired."
    )
    verdict: dict[str, Any] | None = Field(
        description="helped, no_detectable_effect or hurt, and what decided it."
    )
    disagreement: dict[str, Any] = Field(
        description="By split: how often ERM and the model after it answer differently."
    )
    shortcut: dict[str, Any] | None = Field(
        None, description="Signs that the model before leans on a shortcut, what they come to, and the rule."
    )
    properties: dict[str, Any] | None = Field(
        None, description="Which simple property of the images tells the class, as the import found it."
    )
    masking_cost: dict[str, Any] = Field(
        {},
        description="By split and arm: answers under the model's own mask, and under it elsewhere.",
    )
    slices: dict[str, Any] | None = Field(
        None, description="Inferred: clusters of saliency maps of each class, and each model on them."
    )
    gaze: dict[str, Any] | None = Field(
        None, description="Mean saliency map of each class and arm; the share of saliency that moved."
    )
    risk_coverage: dict[str, Any] = Field(
        {}, description="By split and arm: selective risk over coverage, with pointwise bounds and a band."
    )
    certified: dict[str, Any] = Field(
        {}, description="By arm: the share of inputs that it may answer under some certified risks."
    )
    temperature: dict[str, Any] = Field(
        {},
        description="By arm: what the probabilities that are shown are divided by, and where it was fitted.",
    )
    reliability_shown: dict[str, Any] = Field(
        {}, description="As `reliability`, of the probabilities at that temperature."
    )
    masks: dict[str, Any] | None = Field(description="What was masked of the training images.")
    cost: list[dict[str, Any]] = Field(description="Seconds, images per second and device of each stage.")
    groups: dict[str, Any] | None = Field(
        None, description="What a last layer was balanced over, `inferred` or given, and each model on it."
    )
    gallery: dict[str, Any] | None = Field(description="The same images under each model, picked by rule.")
