"""What a client may send, as far as size decides it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """The operator's limits. What is above one is refused, an upload by its size before it is read."""

    model_config = ConfigDict(from_attributes=True)

    max_body_bytes: int = Field(description="Of a JSON body.")
    max_upload_bytes: int = Field(description="Of a data set or model, as it is sent.")
    max_image_bytes: int = Field(description="Of an image file.")
    max_image_pixels: int = Field(description="Of an image.")
    max_images_per_request: int = Field(description="Of one `POST /predict` or `POST /saliency`.")
    predict_image_bytes: int = Field(
        description="Of all images of such a request; what others hold in memory counts too (503)."
    )
    max_archive_entries: int = Field(description="Of a data set's archive.")
    max_archive_bytes: int = Field(description="That an archive may unpack to.")
    max_archive_ratio: float = Field(description="Unpacked over packed size, above the first 64 MiB.")
