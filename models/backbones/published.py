"""Where the published weights of a network are: in a package, cached on this host, on a hub, or nowhere."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import torch

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
