"""What a frozen network with ImageNet weights says of images, computed once for all methods."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from models.backbones.build import build_network
from models.backbones.network import Network
from models.mitigation.features import Features, inputs_of
from models.mitigation.stage_features import StageFeatures, pool_stage, principal_coordinates
from models.mitigation.stages import Stage, early_stages, outputs_of
from models.runtime.files import replacing
from models.types import Labels

Images = NDArray[np.uint8]
BACKBONE = "timm/tf_efficientnet_lite0"
_BATCH = 64


@dataclass(frozen=True)
class Photographs:
    """N images (N, S, S, 3) with their classes and places; a place is the shortcut's value.

    `vectors` has the pooled features (N, D) of each early stage, `activations` (N, C, h, w) the last ones and
    `last` (N, C) their means over the positions. The early stages are only pooled, because each training set
    has principal directions of its own. `backbone` is the network's name.
    Images of equal `objects` (N,) show one object; None: that is unknown.
    """

    backbone: str
    images: Images
    labels: Labels
    places: Labels
    stages: tuple[Stage, ...]
    vectors: tuple[NDArray[np.float16], ...]
    activations: NDArray[np.float16]
    last: NDArray[np.float32]
    objects: Labels | None = None

    def take(self, rows: Labels) -> Self:
        vectors = tuple(stage[rows] for stage in self.vectors)
        columns = self.images[rows], self.labels[rows], self.places[rows]
        objects = None if self.objects is None else self.objects[rows]
        of_network = self.stages, vectors, self.activations[rows], self.last[rows]
        return type(self)(self.backbone, *columns, *of_network, objects)

    def swapped(self) -> Self:
        """The same images, to be told apart by their places."""
        return replace(self, labels=self.places, places=self.labels)

    def stage_features(self) -> StageFeatures:
        classes = int(self.labels.max()) + 1
        logits = np.zeros((len(self.labels), classes), np.float32)  # no network was trained on them
        last = Features(np.arange(len(self.labels)), self.labels, self.last, logits)
        batch = [torch.from_numpy(stage.astype(np.float32)) for stage in self.vectors]
        axes, coordinates = principal_coordinates(iter([batch]))
        (early,) = coordinates
        return StageFeatures(last, self.stages, tuple(part.numpy() for part in early), axes)


class FeatureCache(NamedTuple):
    """Features of `backbone` in `folder`, a file for each set."""

    folder: Path
    backbone: str = BACKBONE

    def load(
        self, name: str, read_images: Callable[[], Images], labels: Labels, places: Labels
    ) -> Photographs:
        """Features are read from the set's file, which is written if there is none."""
        images = read_images()
        network = frozen_network(self.backbone, images.shape[1], int(labels.max()) + 1)
        path = self.folder / f"{self.backbone.replace('/', '-')}-{name}.npz"
        if not path.exists():
            started = time.process_time()
            _save_features(network, images, path)
            seconds = time.process_time() - started
            print(f"features of {len(images)} images: {seconds:.0f} s of CPU", file=sys.stderr)
        stages = early_stages(network)
        with np.load(path) as file:
            vectors = tuple(file[f"arr_{2 + number}"] for number in range(len(stages)))
            columns = (images, labels, places, stages, vectors, file["arr_0"], file["arr_1"])
            return Photographs(self.backbone, *columns)


def frozen_network(backbone: str, pixels: int, classes: int, seed: int = 0) -> Network:
    return build_network(backbone, classes=classes, image_size=pixels, pretrained=True, seed=seed).eval()


def last_features(network: Network, images: Images) -> NDArray[np.float32]:
    """The inputs (N, C) of the last layer."""
    with inputs_of(network.classifier) as received, torch.inference_mode():
        for batch in image_batches(images):
            network(batch)
    return torch.cat(received.inputs).numpy()


def _save_features(network: Network, images: Images, path: Path) -> None:
    names = [stage.name for stage in early_stages(network)]
    activations, vectors = [], []
    with (
        inputs_of(network.classifier) as received,
        outputs_of(network, names, pool_stage) as outputs,
        torch.inference_mode(),
    ):
        for batch in image_batches(images):
            activation = network.features(batch)
            network.head(activation)
            activations.append(activation.half())
            vectors.append([pooled.half() for _, pooled in outputs.take()])
    columns = [torch.cat(activations), torch.cat(received.inputs)]
    columns += [torch.cat(stage) for stage in zip(*vectors, strict=True)]
    with replacing(path) as file:
        np.savez(file, *(column.numpy() for column in columns))


def image_batches(images: Images) -> Iterator[torch.Tensor]:
    """Batches (B, 3, S, S) in 0..1, in order."""
    for first in range(0, len(images), _BATCH):
        yield torch.from_numpy(images[first : first + _BATCH]).permute(0, 3, 1, 2).float() / 255
