"""Shapes of saliency maps on request."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from app.predictions.schemas import DatasetQuery, ModelQuery, Query, SampleQuery

View = Literal["overlay", "heatmap", "mask"]
Format = Literal["json", "png"]


class SaliencyQuery(Query):
    """Which map to compute, and how to show it."""

    model: ModelQuery
    method: str = Field(
        "xgradcam",
        max_length=40,
        description="A class activation method: xgradcam, gradcam, gradcam++, hirescam, layercam, eigencam, "
        "eigengradcam, scorecam, ablationcam, fullgrad and others; the error for an unknown name lists them "
        "all. Methods that run the network again for each map take fewer images and have their own queue.",
    )
    target: str | None = Field(
        None, max_length=200, description="The class to explain, by name. Default: the predicted one."
    )
    sigmas: float | None = Field(
        None,
        ge=-10,
        le=10,
        description="Pixels above mean + `sigmas`·std of the positive values are masked. Default: as in the "
        "model's job, else 2.",
    )
    format: Format | None = Field(
        None, description="Default: `png` if `Accept` prefers a PNG, else `json`. `png` shows one image."
    )
    view: View = Field("overlay", description="Which picture to send as a PNG; JSON has all three.")


class StoredSaliencyQuery(SaliencyQuery):
    """The same for a sample of a data set."""

    dataset: DatasetQuery
    sample: SampleQuery
