"""Shape of the limits on what a client may send."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """The operator's limits. Anything above one is refused, an upload by its size before it is read."""

    model_config = ConfigDict(from_attributes=True)

    max_body_bytes: int = Field(description="Largest JSON body.")
    max_upload_bytes: int = Field(description="Largest upload of a data set or a model.")
    max_image_bytes: int = Field(description="Largest image file.")
    max_image_pixels: int = Field(description="Most pixels in an image.")
    max_images_per_request: int = Field(description="Most images in a `POST /predict` or `POST /saliency`.")
    predict_image_bytes: int = Field(
        description="Most bytes of images in such a request; those of other requests count too (503)."
    )
    max_archive_entries: int = Field(description="Most entries in a data set's archive.")
    max_archive_bytes: int = Field(description="Most bytes that an archive may unpack to.")
    max_archive_ratio: float = Field(
        description="Largest ratio of unpacked to packed size, above the first 64 MiB."
    )
