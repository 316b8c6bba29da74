"""Predictions with the reject option, and saliency maps, for stored samples and for uploaded images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, Unpack

from masktune.client.calls import call, fetch, get
from masktune.client.resource import D, Operation, Resource
from masktune.client.transfers import CountedFile, as_utf8
from masktune.client.wire import FilePart, Flow, Request
from masktune.contract.serving.predictions import Answer, SaliencyAnswer

Image: TypeAlias = Path | str | bytes | tuple[str, bytes]
"""The path of an image file, or the bytes of one, with the name that a refusal gives it or without."""


class PolicyOptions(TypedDict, total=False):
    """When to abstain. At most one policy may be given: `coverage`, `max_risk`, `min_score`, or by
    class `max_class_risk`, `max_missed` or both."""

    coverage: float
    """Answer this share of the inputs, in (0, 1]."""
    max_risk: float
    """Certify that at most this share of the answers is wrong, in (0, 1)."""
    max_class_risk: float
    """Certify, for each class, that at most this share of the answers that name it is wrong, in (0, 1)."""
    max_missed: float
    """Certify, for each class, that at most this share of its inputs is answered as another, in (0, 1)."""
    risk_confidence: float
    """Confidence level of what is certified, in [0.5, 1)."""
    min_score: float
    """Answer inputs with at least this score."""
    on_uncertified: Literal["abstain", "error"]
    set_coverage: float
    """Add `labels`, a set that holds the true class of this share of the inputs of each class, in (0, 1)."""
    score: str
    """The confidence score to decide by. Default: the calibration's."""


class PredictOptions(PolicyOptions, total=False):
    """Options of a prediction."""

    top_k: int
    explain: bool


def predict_sample(
    *, model: str, dataset: str, sample: int, **options: Unpack[PredictOptions]
) -> Flow[Answer]:
    """Predict a stored sample."""
    return call(get("/predict", model=model, dataset=dataset, sample=sample, **options), Answer)


def predict_images(
    model: str, images: Sequence[Image], *, subject: str | None = None, **options: Unpack[PredictOptions]
) -> Flow[Answer]:
    """Predict images, in one forward pass if they fit into one batch.

    `subject` is what all of them show (a patient, an animal, a burst): for drift, one input.
    """
    return call(_post("/predict", images, {"model": model, "subject": subject, **options}), Answer)


class SaliencyOptions(TypedDict, total=False):
    """Options of a saliency map."""

    method: str
    target: str
    """The class to explain. Default: the predicted class."""
    sigmas: float


View: TypeAlias = Literal["overlay", "image", "heatmap", "mask", "mask_outline"]


def explain_sample(
    *, model: str, dataset: str, sample: int, **options: Unpack[SaliencyOptions]
) -> Flow[SaliencyAnswer]:
    """Explain where the model looks in a stored sample: the saliency map, and PNG images of it."""
    return call(
        get("/saliency", model=model, dataset=dataset, sample=sample, format="json", **options),
        SaliencyAnswer,
    )


def explain_images(
    model: str, images: Sequence[Image], **options: Unpack[SaliencyOptions]
) -> Flow[SaliencyAnswer]:
    """Explain where the model looks in uploaded images: a saliency map for each."""
    return call(_post("/saliency", images, {"model": model, "format": "json", **options}), SaliencyAnswer)


def picture_sample(
    *, model: str, dataset: str, sample: int, view: View = "overlay", **options: Unpack[SaliencyOptions]
) -> Flow[bytes]:
    """Get one view of a stored sample's saliency map as PNG bytes."""
    query = get("/saliency", model=model, dataset=dataset, sample=sample, format="png", view=view, **options)
    return (yield from fetch(query)).content


def picture_image(
    model: str, image: Image, *, view: View = "overlay", **options: Unpack[SaliencyOptions]
) -> Flow[bytes]:
    """Get one view of an uploaded image's saliency map as PNG bytes."""
    query = {"model": model, "format": "png", "view": view, **options}
    return (yield from fetch(_post("/saliency", [image], query))).content


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
        raise TypeError("images must be a sequence: put a single image in a list")
    parts = tuple(_part(number, image) for number, image in enumerate(images))
    # A prediction has no side effects, so the request may be repeated.
    return Request(method="POST", path=path, query=query, files=parts, repeatable=True)


def _part(number: int, image: Image) -> FilePart:
    if isinstance(image, bytes):
        image = f"image-{number}", image
    if isinstance(image, tuple):
        name, content = image
        return FilePart("file", as_utf8(name), partial(io.BytesIO, content))
    path = Path(image)
    return FilePart("file", as_utf8(path.name), partial(CountedFile, path, None))
