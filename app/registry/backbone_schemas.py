"""Shapes of backbones."""

from __future__ import annotations

from pydantic import BaseModel, Field

from masktune.contract.vocabulary import WeightsPlace


class Backbone(BaseModel):
    """A network that a job may name."""

    name: str = Field(description="For `backbone` of a job.")
    library: str = Field(description="`timm`, `torchvision`, or `own` for the two of this project.")
    weights: WeightsPlace = Field(
        description="Its published weights, as the host of the API sees them: `packaged` with the service, "
        "`cached` on this host, on a `hub`, from which a job with `pretrained` fetches them, or `none`."
    )
    image_size: int | None = Field(
        description="Side in pixels of the images that its weights were made for; null if unknown."
    )
