"""The early stages of a network, where a shortcut shows and the class hardly does.

A stage is the last activation before a network halves its grid: C2, C3 and C4 of a feature pyramid (Lin et
al. 2017). A network with one grid throughout, such as a ViT, is cut by depth.
"""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.backbones.network import Network
from models.data.loading.batched_eval import evaluating

_STAGES = 3
_DEPTHS = (1 / 6, 1 / 3, 1 / 2)
"""Where a network with one grid is cut, as shares of its blocks: after 2, 4 and 6 of a ViT's 12."""


class Stage(NamedTuple):
    """The output of the module `name` in `network.model`: `channels` on a grid of `side` × `side`."""

    name: str
    channels: int
    side: int


def early_stages(network: Network) -> tuple[Stage, ...]:
    """At most three stages, from shallow to deep; fewer, or none, if the network has no more activations.

    They end the three octaves before the last one, from which the last layer's inputs are pooled. For most
    networks these have the strides 4, 8 and 16: `blocks` 1, 2 and 4 of EfficientNet-Lite0, `layer1` to
    `layer3` of a ResNet, all `stages` of a ConvNeXt but the last; 1, 2 and 4 for SmallCNN.

    The network need not have been trained on other images: the early stages of one that was fitted to these
    very images still show the shortcut, where its last features may leave no mistake at all.
    """
    for depth in range(3):  # some networks hide their trunk in a module of their own
        activations = _activations(network, depth)
        side = network.spec.image_size
        last_of_octave = {round(math.log2(side / stage.side)): stage for stage in activations}  # by halvings
        if len(last_of_octave) > 1:
            return tuple(last_of_octave.values())[:-1][-_STAGES:]
        blocks = _longest_list(activations)
        if len(blocks) > _STAGES:
            return tuple(blocks[round(share * len(blocks)) - 1] for share in _DEPTHS)
    return ()


def _longest_list(activations: Sequence[Stage]) -> list[Stage]:
    """The blocks of a network with one grid, without what comes before and after them."""
    lists = defaultdict(list)
    for stage in activations:
        lists[stage.name.rpartition(".")[0]].append(stage)
    return max(lists.values(), key=len, default=[])


def _activations(network: Network, depth: int) -> list[Stage]:
    """The outputs of the trunk's modules that have positions, in the order in which they are computed."""
    side = network.spec.image_size
    image = torch.zeros(1, 3, side, side, device=network.mean.device)
    stages: list[Stage] = []
    names = list(_trunk(network.model, depth))
    with evaluating(network), outputs_of(network, names, _shape) as outputs, torch.inference_mode():
        network(image)
    for name, (channels, side) in outputs.take():
        if 1 < side <= (stages[-1].side if stages else side):  # VGG's last pooling enlarges the grid
            stages.append(Stage(name, channels, side))
    return stages


def _shape(output: Any) -> tuple[int, int]:
    """(channels, side); side 0 for an output without positions."""
    grid = as_grid(output)
    return (0, 0) if grid is None else (grid.shape[1], grid.shape[2])


def _trunk(model: nn.Module, depth: int, prefix: str = "") -> Iterator[str]:
    """Names of the modules that follow each other. Lists are opened; others down to `depth`."""
    for name, child in model.named_children():
        is_list = type(child) in (nn.Sequential, nn.ModuleList)
        if is_list or (depth and any(child.children())):
            yield from _trunk(child, depth - (not is_list), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def as_grid(output: Any) -> Tensor | None:
    """The output of a module as (B, C, h, w); None if it has no positions.

    Tokens (B, L, C) are a square grid behind those of the class and the registers.
    """
    if not isinstance(output, Tensor) or output.ndim not in (3, 4):
        return None
    if output.ndim == 4:
        channels_last = output.shape[1] == output.shape[2] != output.shape[3]  # as Swin's are
        return output.permute(0, 3, 1, 2) if channels_last else output
    side = math.isqrt(output.shape[1])
    places = output[:, output.shape[1] - side * side :]
    return places.transpose(1, 2).reshape(len(output), -1, side, side)


class Outputs(threading.local):
    """What was read of the modules' outputs, separate for each thread that calls the network."""

    def __init__(self) -> None:
        self._readings: list[tuple[str, Any]] = []

    def add(self, name: str, read: Callable[[Any], Any], _: nn.Module, __: Any, output: Any) -> None:
        self._readings.append((name, read(output)))

    def take(self) -> list[tuple[str, Any]]:
        """(name of the module, what was read), in the order of computation; then forget them."""
        readings, self._readings = self._readings, []
        return readings

    def __deepcopy__(self, _: object) -> Outputs:
        """A copy of the network keeps its outputs apart."""
        return Outputs()


@contextmanager
def outputs_of(network: Network, names: Sequence[str], read: Callable[[Any], Any]) -> Iterator[Outputs]:
    """Apply `read` to each output of the modules `names` of `network.model` inside the block.

    It is applied at once, since a later layer may overwrite the output.
    """
    outputs = Outputs()
    hooks = [
        network.model.get_submodule(name).register_forward_hook(partial(outputs.add, name, read))
        for name in names
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
