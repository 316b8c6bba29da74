"""The plants in the experiments: their training images, true backgrounds, and maps of an earlier layer."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from benchmarks import _selective_images as selective_images
from models.backbones.network import Built, Network, Split
from models.data.store import Store
from models.masking.store import MaskSet

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Plants:
    """`store` has the splits `train`, `val` (cut from the given train) and `test`; the given val is left out.

    The given val is balanced over the groups, so anything that uses it has been told about them.
    """

    archive: Path
    store: Store

    def training_rows(self) -> Labels:
        """Rows of the given training split, both parts."""
        return np.sort(np.concatenate([self.store.rows("train"), self.store.rows("val")]))

    def background(self, rows: Labels, size: int) -> Tensor:
        """(N, size, size) bool: the true background of each sample, from the cut-out that was pasted."""
        pairs = []
        with zipfile.ZipFile(self.archive) as archive:
            lines = csv.DictReader(io.StringIO(archive.read("metadata.csv").decode()))
            number = {line["img_filename"]: line["img_id"] for line in lines}
            for row in rows.tolist():
                name = f"masks/{number[self.store.sample(row).path]}.png"
                with Image.open(io.BytesIO(archive.read(name))) as picture:
                    small = picture.convert("L").resize((size, size), Image.Resampling.BILINEAR)
                pairs.append(np.asarray(small) < 128)
        return torch.from_numpy(np.stack(pairs))


def open_plants(archive: Path, folder: Path, *, parts: int) -> Plants:
    """Pack into `folder`; one part in `parts` of the given training split becomes `val`."""
    return Plants(archive, selective_images.open_plants(archive, folder, parts=parts))


def cut_earlier(network: Network, blocks: int) -> Network:
    """The same module, cut after its first `blocks` of seven: maps of an earlier layer, on a finer grid.

    At 96 px the last layer has 3×3 positions; blocks 4 and 5 end with 6×6.
    """

    def features(model: nn.Module, x: Tensor) -> Tensor:
        x = model.get_submodule("bn1")(model.get_submodule("conv_stem")(x))
        for block in list(model.get_submodule("blocks").children())[:blocks]:
            x = block(x)
        return x

    def head(model: nn.Module, x: Tensor) -> Tensor:
        for block in list(model.get_submodule("blocks").children())[blocks:]:
            x = block(x)
        x = model.get_submodule("bn2")(model.get_submodule("conv_head")(x))
        return model.forward_head(x)  # type: ignore[operator,no-any-return]  # every timm model has it

    spec = network.spec
    return Network(Built(network.model, Split(features, head), spec.mean, spec.std), spec).eval()


def masked_background(masks: MaskSet, plants: Plants, size: int) -> tuple[float, float]:
    """(share of the masked pixels that lie on true background, share of all pixels that do), 0..1."""
    masked = masks.masks(torch.from_numpy(masks.rows), size, torch.device("cpu"))
    background = plants.background(masks.rows, size)
    hit = int((masked & background).sum()) / max(int(masked.sum()), 1)
    return hit, float(background.float().mean())
