"""Shape of a job's before/after report, in outline; every figure in it carries its n and interval."""

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
        description="By split and arm: how reliable the probabilities are, over the answers that are finite "
        "numbers (`non_finite` counts the others); null if none is."
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
        None,
        description="Signs that the model before leans on a shortcut, the rule, and the `reading`: leans, "
        "some_signs, no_sign or not_judged, which has a `reason`.",
    )
    training_note: str | None = Field(
        None, description="What to know of how the models were trained: that only the last layer was, say."
    )
    properties: dict[str, Any] | None = Field(
        None, description="Which simple property of the images predicts the class, as the import found it."
    )
    masking_cost: dict[str, Any] = Field(
        {},
        description="By split and arm: answers under the model's own mask, and under that mask elsewhere.",
    )
    slices: dict[str, Any] | None = Field(
        None, description="Inferred: clusters of the saliency maps of each class, and each model on them."
    )
    gaze: dict[str, Any] | None = Field(
        None, description="Mean saliency map by class and arm; the share of saliency that moved."
    )
    risk_coverage: dict[str, Any] = Field(
        {}, description="By split and arm: selective risk over coverage, with pointwise bounds and a band."
    )
    certified: dict[str, Any] = Field(
        {}, description="By arm: the share of inputs that it may answer under some certified risks."
    )
    temperature: dict[str, Any] = Field(
        {},
        description="By arm: the temperature of the probabilities that are shown, and where it was fitted.",
    )
    reliability_shown: dict[str, Any] = Field(
        {}, description="As `reliability`, for the probabilities at that temperature."
    )
    masks: dict[str, Any] | None = Field(description="What was masked in the training images.")
    cost: list[dict[str, Any]] = Field(description="Seconds, images per second and device of each stage.")
    groups: dict[str, Any] | None = Field(
        None, description="Groups that a head was balanced over, `inferred` or given; each model on them."
    )
    gallery: dict[str, Any] | None = Field(description="The same images under each model, picked by rule.")
