"""A mask lies where the network looked, in every preset: a crop of a masked image is the masked crop."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from masktune.contract.hyperparameters import Crop, Hyperparameters, MaskingConfig
from models.backbones.network import BackboneSpec, Built, Network, Split
from models.data.layout import DatasetInfo
from models.data.loading.augment import RECIPES, augment
from models.data.loading.loader_settings import Masking
from models.data.loading.loaders import map_loader, train_loader
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from models.masking.compute import load_or_compute_masks
from models.masking.rule import apply_masks
from models.run import Run

IMAGES = 3
RUN = Run(seed=11)
TABLES = {
    file.name.removesuffix(".toml"): tomllib.loads(file.read_text())
    for file in files("presets").iterdir()
    if file.name.endswith(".toml")
}


def preset(name: str) -> Hyperparameters:
    """Everything of the preset that decides geometry; masked is what is red at all."""
    table = TABLES[name]
    return Hyperparameters(
        image_size=table["image_size"],
        augmentation=table["augmentation"],
        batch_size=IMAGES,
        masking=MaskingConfig(share=0.3),
    )


def redness(images: Tensor) -> Tensor:
    """By how much red is above green, (B, 1, H, W): linear, so no mixture of pixels without it has any."""
    return F.relu(images[:, :1] - images[:, 1:2])


class RedFinder(nn.Module):
    """Two channels: where it is red, and a constant; the class is red."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(2, 2, bias=False)
        self.last.weight.data = torch.tensor([[1.0, 0.0], [0.0, -1.0]])


def finder(size: int) -> Network:
    """A network that is known to look at what is red, on a grid of 14 by 14."""

    def features(_: nn.Module, images: Tensor) -> Tensor:
        red = F.adaptive_avg_pool2d(redness(images), 14)
        return torch.cat([red, torch.ones_like(red)], 1)

    def head(model: nn.Module, activation: Tensor) -> Tensor:
        assert isinstance(model, RedFinder)
        logits: Tensor = model.last(activation.mean((2, 3)))
        return logits

    spec = BackboneSpec("red", 2, size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    built = Built(RedFinder(), Split(features, head), spec.mean, spec.std)
    return Network(built, spec).eval()


@pytest.fixture
def photographs(tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    """Wide green noise with a small red spot, at another place in each image, the first in the corner."""
    size = preset(request.getfixturevalue("name")).image_size
    height, width, side = size, size * 4 // 3, max(3, size // 16)
    rng = np.random.default_rng(5)
    with StoreWriter(tmp_path / "store") as writer:
        for index in range(IMAGES):
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[:, :, 1] = rng.integers(60, 256, (height, width))
            top, left = (0, 0) if index == 0 else rng.integers(0, (height - side, width - side))
            pixels[top : top + side, left : left + side] = (255, 0, 0)
            file = BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            writer.add(
                Row(f"{index}.png", index % 2, "train", -1, width=width, height=height, image=file.getvalue())
            )
            writer.pixels.add(pixels if width <= 64 else None)
        writer.finish(DatasetInfo("red spots", "builtin", ("a", "b")))
    return Store.open(tmp_path / "store")


def draws(config: Hyperparameters, seed: int) -> Tensor:
    """Numbers of a random geometry; those that change colours are at their middle, where they change none."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(IMAGES, RECIPES[config.augmentation].numbers, generator=generator)
    u[:, 5:] = 0.5
    return u


@pytest.mark.parametrize("name", TABLES)
def test_a_random_crop_of_a_masked_image_is_the_masked_random_crop(
    name: str, photographs: Store, tmp_path: Path
) -> None:
    config = preset(name)
    network = finder(config.image_size)
    found = load_or_compute_masks(network, photographs, config, RUN, folder=tmp_path / "masks")
    batch = next(iter(map_loader(photographs, config, RUN).epoch(None)))
    masks = found.masks(batch.rows, config.image_size, RUN.device)
    assert masks.shape[1:] == batch.images.shape[2:]
    picture = masks.unsqueeze(1).float().expand_as(batch.images)
    moved = set()
    for seed in range(2):
        plans = RECIPES[config.augmentation].plan(draws(config, seed), (config.image_size,) * 2)
        crop_of_masked = augment(config.augmentation, apply_masks(batch.images, masks), plans)
        crop, crop_of_mask = (
            augment(config.augmentation, images, plans) for images in (batch.images, picture)
        )
        covered, bare = crop_of_mask > 1 - 1e-6, crop_of_mask == 0
        assert covered.any()
        assert crop_of_masked[covered].abs().max() < 1e-5
        torch.testing.assert_close(crop_of_masked[bare], crop[bare], rtol=0, atol=1e-5)
        assert redness(crop_of_masked).max() < 1e-5
        moved.add(crop_of_mask.sum().item())
    assert len(moved) == (1 if config.augmentation == "none" else 2)


@pytest.mark.parametrize("name", TABLES)
def test_the_batches_of_the_finetune_show_nothing_of_what_was_looked_at(
    name: str, photographs: Store, tmp_path: Path
) -> None:
    """The colour jitter of one preset shifts channels by a few hundredths."""
    assert left_over(preset(name), photographs, tmp_path) < 0.05


@pytest.mark.parametrize("name", ["waterbirds", "celeba"])
def test_a_mask_of_a_crop_that_is_stretched_misses_what_was_looked_at(
    name: str, photographs: Store, tmp_path: Path
) -> None:
    """What the paper's code does on these two, which their presets ask for as released."""
    crop: Crop = TABLES[name]["released"]["masking"]["crop"]
    config = preset(name)
    assert left_over(replace(config, masking=replace(config.masking, crop=crop)), photographs, tmp_path) > 0.9


def left_over(config: Hyperparameters, store: Store, folder: Path) -> float:
    """The most that any pixel of an epoch of masked batches is red, 0..1."""
    found = load_or_compute_masks(finder(config.image_size), store, config, RUN, folder=folder / "masks")
    loader: Any = train_loader(store, config, RUN, Masking(found, apply_masks))
    return max(float(redness(batch.images).max()) for batch in loader.epoch(RUN.generator("finetune")))
