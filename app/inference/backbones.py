"""Lists backbones, and checks names of backbones and methods. What is about libraries' networks imports the
libraries: seconds, once."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from core.errors import InvalidInput
from models.backbones.errors import BackboneError
from models.defaults import OWN_BACKBONES

if TYPE_CHECKING:
    from models.backbones.build import ListedBackbone


def check_backbone(name: str) -> None:
    """Raise `UnknownBackbone`, with near matches, unless `models.backbones.build_network` knows the name."""
    if name in OWN_BACKBONES:  # known without an import
        return
    from models.backbones.build import find_library  # imports torch

    find_library(name)


def list_backbones() -> list[ListedBackbone]:
    """Return every network that `check_backbone` accepts, with the place of its weights."""
    from models.backbones import build as backbones  # imports torch

    return backbones.list_backbones()


class NetworkSize(NamedTuple):
    """`weights` counts all numbers in the network, `features` those that its last layer receives."""

    weights: int
    features: int


@lru_cache(maxsize=64)  # a network takes up to seconds to lay out
def network_size(name: str, *, classes: int, image_size: int) -> NetworkSize:
    """Return the size of a network without allocating it. Raises `InvalidInput` if it cannot be built."""
    from models.backbones.build import weight_shapes  # imports torch

    try:
        shapes = weight_shapes(name, classes=classes, image_size=image_size)
    except BackboneError as error:
        raise InvalidInput.field("/backbone", "unsupported-backbone", str(error)) from error
    widths = [shape[1] for shape in shapes.values() if len(shape) > 1 and shape[0] == classes]
    return NetworkSize(sum(math.prod(shape) for shape in shapes.values()), widths[-1])


def check_method(name: str, pointer: str) -> None:
    """Raise `InvalidInput` at this pointer unless it is a method of `models.saliency`."""
    if name == "xgradcam":  # the default, known without an import
        return
    from models.saliency import METHODS  # imports torch

    if name not in METHODS:
        raise InvalidInput.field(
            pointer,
            "unknown-method",
            f"there is no saliency method {name!r}; use one of {', '.join(METHODS)}",
        )
