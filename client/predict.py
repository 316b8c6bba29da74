"""Predictions with the reject option, and saliency, for stored samples and for images sent along."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

from client.calls import call, fetch, get
from client.resource import D, Operation, Resource
from client.shapes import Answer, SaliencyAnswer
from client.uploads import CountedFile, spelt
from client.wire import FilePart, Flow, Request

Image: TypeAlias = Path | str | bytes
"""A file's path, or the bytes of one."""


class PredictOptions(TypedDict, total=False):
    """What may be said beside the image. At most one of `coverage`, `max_risk` and `min_score`."""

    coverage: float
    """Answer this share of the inputs, in (0, 1]."""
    max_risk: float
    """Answer only as far as at most this share of the answers is wrong, in (0, 1)."""
    risk_confidence: float
    """The confidence of `max_risk`, in [0.5, 1)."""
    min_score: float
    """Answer from this score on."""
    on_uncertified: Literal["abstain", "error"]
    score: str
    """The score that decides; by default the calibration's."""
    top_k: int
    explain: bool


def predict_sample(
    *, model: str, dataset: str, sample: int, **options: Unpack[PredictOptions]
) -> Flow[Answer]:
    """Predict an image that the service has."""
    return call(get("/predict", model=model, dataset=dataset, sample=sample, **options), Answer)


def predict_images(model: str, images: Sequence[Image], **options: Unpack[PredictOptions]) -> Flow[Answer]:
    """Predict these images, in one forward pass where they fit."""
    return call(_post("/predict", images, {"model": model, **options}), Answer)


class SaliencyOptions(TypedDict, total=False):
    """How the map is made and shown."""

    method: str
    target: str
    """The class to explain; by default the predicted one."""
    sigmas: float


View: TypeAlias = Literal["overlay", "heatmap", "mask"]


def explain_sample(
    *, model: str, dataset: str, sample: int, **options: Unpack[SaliencyOptions]
) -> Flow[SaliencyAnswer]:
    """Where the model looks in a stored image: the map, and three pictures of it."""
    query = get("/saliency", model=model, dataset=dataset, sample=sample, format="json", **options)
    return call(query, SaliencyAnswer)


def explain_images(
    model: str, images: Sequence[Image], **options: Unpack[SaliencyOptions]
) -> Flow[SaliencyAnswer]:
    """Where the model looks in these images."""
    return call(_post("/saliency", images, {"model": model, "format": "json", **options}), SaliencyAnswer)


def picture_sample(
    *, model: str, dataset: str, sample: int, view: View = "overlay", **options: Unpack[SaliencyOptions]
) -> Flow[bytes]:
    """One picture of where the model looks in a stored image, as a PNG."""
    query = get("/saliency", model=model, dataset=dataset, sample=sample, format="png", view=view, **options)
    response = yield from fetch(query)
    return response.content


def picture_image(
    model: str, image: Image, *, view: View = "overlay", **options: Unpack[SaliencyOptions]
) -> Flow[bytes]:
    """One picture of where the model looks in this image, as a PNG."""
    query = {"model": model, "format": "png", "view": view, **options}
    response = yield from fetch(_post("/saliency", [image], query))
    return response.content


class Predict(Resource[D]):
    """`client.predict`."""

    sample = Operation(predict_sample)
    images = Operation(predict_images)


class Saliency(Resource[D]):
    """`client.saliency`."""

    sample = Operation(explain_sample)
    images = Operation(explain_images)
    sample_picture = Operation(picture_sample)
    image_picture = Operation(picture_image)


def _post(path: str, images: Sequence[Image], query: dict[str, Any]) -> Request:
    if isinstance(images, str | bytes | Path):
        raise TypeError("images is a sequence: put a single one in a list")
    parts = tuple(_part(number, image) for number, image in enumerate(images))
    # A prediction changes nothing, so that it may be asked for twice.
    return Request(method="POST", path=path, query=query, files=parts, repeatable=True)


def _part(number: int, image: Image) -> FilePart:
    if isinstance(image, bytes):
        return FilePart("file", f"image-{number}", partial(io.BytesIO, image))
    path = Path(image)
    return FilePart("file", spelt(path.name), partial(CountedFile, path, None))
