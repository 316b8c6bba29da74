"""Answers about the service itself: its health, its limits, and what its store holds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from masktune.contract.base import Shape

PartName = Literal["database", "broker", "storage", "forward_pass"]


class Alive(Shape):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Part(Shape):
    """One part that the service needs."""

    name: PartName
    ok: bool
    detail: str = Field(description="`ok`, or what is wrong.")


class Ready(Shape):
    """Every part answers."""

    status: Literal["ready"] = "ready"
    parts: list[Part]


class Limits(Shape):
    """The operator's limits. Anything above one is refused, an upload by its size before it is read."""

    max_body_bytes: int = Field(description="Largest JSON body.")
    max_upload_bytes: int = Field(description="Largest upload of a data set or a model.")
    max_image_bytes: int = Field(description="Largest image file.")
    max_image_pixels: int = Field(description="Most pixels in an image.")
    max_images_per_request: int = Field(description="Most images in a `POST /predict` or `POST /saliency`.")
    predict_image_bytes: int | None = Field(
        None, description="Most bytes of images in such a request; those of other requests count too (503)."
    )
    max_archive_entries: int = Field(description="Most entries in a data set's archive.")
    max_archive_bytes: int = Field(description="Most bytes that an archive may unpack to.")
    max_archive_ratio: float = Field(
        description="Largest ratio of unpacked to packed size, above the first 64 MiB."
    )


class Storage(Shape):
    """What fills the store, in bytes. Two names of one file count twice."""

    free: int | None = Field(description="Left on the disk; null for an object store.")
    kinds: dict[str, int] = Field(
        description="`datasets`, `models`, `backbones` that models share, `jobs`, `features` of frozen "
        "backbones, `exports` to ONNX, `calibrations`, `pattern_judges`, `uploads`."
    )
    largest: dict[str, int] = Field(
        description="The ten largest data sets, models and jobs by id, with their features, exports and "
        "checkpoints."
    )
    removable: dict[str, int] = Field(
        description="What may go: `resumable_jobs`, which failed or were cancelled; `unnamed_models`, "
        "trained ones that no alias needs; `caches`, the features and exports, which are made anew."
    )
