"""The threshold rule against the released code's arithmetic; fills; the stage on a tiny network."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from masktune.contract.hyperparameters import Fill, MaskingConfig
from models.backbones.build import build_network
from models.backbones.network import Network
from models.masking.compute import compute_mask_set
from models.masking.rule import apply_masks, heights, masks_of, random_masks
from models.masking.store import MaskSet
from models.run import Run, Stopped
from models.saliency import saliency
from tests.support.batches import Batches, noise
from tests.support.cam_scale import to_library_scale

SIZE = (28, 28)


def random_maps(batch: int, seed: int, low: tuple[int, int] = (7, 7)) -> Tensor:
    """Maps as a ReLU leaves them: many zeros, values of any scale."""
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** (seed % 7 - 3)
    return torch.randn(batch, *low, generator=generator).clamp_min(0) * scale


def as_released(maps: Tensor, size: tuple[int, int], sigmas: float = 2.0) -> NDArray[np.bool_]:
    """The released code: heat in 0..1, mean + sigmas · std of the positive values, strictly above."""
    found = []
    for heat in to_library_scale(maps, size).numpy():
        positive = heat[heat > 0]
        found.append(
            heat > positive.mean() + sigmas * positive.std() if positive.size else np.zeros(size, bool)
        )
    return np.array(found)


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (50, 41)])
@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None, derandomize=True)  # equality of floats: a wide sweep may find a tie
def test_the_mask_is_that_of_the_released_code(size: tuple[int, int], seed: int) -> None:
    maps = random_maps(4, seed)
    masks = masks_of(maps, size)
    assert np.array_equal(masks.numpy(), as_released(maps, size))


@given(st.floats(1e-3, 1e3), st.floats(0, 1e2), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_scale_and_offset_of_a_map_change_no_mask(scale: float, offset: float, seed: int) -> None:
    maps = random_maps(2, seed * 7 + 3).double()
    other = maps * scale + offset * scale
    first, second = (masks_of(m, SIZE) for m in (maps, other))
    assert (first != second).float().mean() < 1e-3  # but for rounding


@pytest.mark.parametrize("value", [0.0, 3.0, 1e-30])
@pytest.mark.parametrize("share", [None, 0.2])
def test_a_constant_map_masks_nothing(value: float, share: float | None) -> None:
    maps = torch.full((2, 4, 4), value)
    assert not masks_of(maps, SIZE, share=share).any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("share", [None, 0.2])
def test_a_broken_map_masks_nothing_and_harms_no_other(value: float, share: float | None) -> None:
    maps = random_maps(3, 3)
    expected = masks_of(maps, SIZE, share=share)
    maps[1, 2, 2] = value
    masks = masks_of(maps, SIZE, share=share)
    assert not masks[1].any()
    assert torch.equal(masks[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_share_masks_the_most_salient_and_never_more(share: float) -> None:
    maps = torch.rand(3, 7, 7, generator=torch.Generator().manual_seed(0))
    masks = masks_of(maps, SIZE, share=share)
    raised = heights(maps, SIZE)
    for mask, height in zip(masks, raised, strict=True):
        assert share * 784 - 3 <= mask.sum() <= share * 784
        assert height[mask].min() > height[~mask].max()


def test_a_plateau_larger_than_the_share_is_not_masked() -> None:
    maps = torch.zeros(1, 4, 4)
    maps[0, :, :2] = 1.0
    assert masks_of(maps, SIZE, share=0.1).sum() == 0


def test_lower_sigmas_mask_more() -> None:
    maps = random_maps(8, 3)
    shares = [masks_of(maps, SIZE, sigmas=s).sum() for s in (2.0, 1.0, 0.0, -1.0)]
    assert sorted(shares) == shares
    assert len(set(map(int, shares))) == 4


def test_the_random_set_of_a_later_iteration_has_places_of_its_own(network: Network, tmp_path: Path) -> None:
    """As many as chance has in common; the first set's places are those of the run's seed."""
    config, run, rows = MaskingConfig(method="random", share=0.3), Run(seed=9), torch.arange(6) * 10
    found = []
    for iteration in range(3):
        folder = tmp_path / str(iteration)
        compute_mask_set(network, batches(6, batch=3), config, run, folder=folder, iteration=iteration)
        found.append(MaskSet.open(folder).masks(rows, 16, torch.device("cpu")))
    counts = found[0].sum((1, 2))
    assert torch.equal(found[0], random_masks(counts, rows, (16, 16), seed=9))
    pixels = int(counts.sum())
    for first, second in combinations(found, 2):
        assert torch.equal(first.sum((1, 2)), second.sum((1, 2)))
        expected = float((counts.double() ** 2 / 256).sum())
        assert abs(int((first & second).sum()) - expected) < 4 * expected**0.5 < pixels / 2


@pytest.mark.parametrize("fill", ["black", "mean", "blur"])
def test_a_fill_changes_what_is_masked_and_nothing_else(fill: Fill) -> None:
    images = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    masked = torch.zeros(2, 24, 32, dtype=torch.bool)
    masked[0, 4:9, 3:20] = True
    found = apply_masks(images, masked, fill)
    kept = ~masked[:, None].expand_as(images)
    assert torch.equal(found[kept], images[kept])
    assert not torch.equal(found[0], images[0])
    assert (found >= 0).all()
    assert (found <= 1).all()


def test_black_is_exactly_zero_and_mean_is_the_images_own() -> None:
    images = torch.rand(2, 3, 8, 8)
    masked = torch.ones(2, 8, 8, dtype=torch.bool)
    assert (apply_masks(images, masked) == 0).all()
    mean = apply_masks(images, masked, "mean")
    assert torch.allclose(mean[1, 2], images[1, 2].mean().expand(8, 8))


# the stage


def batches(images: int, *, batch: int) -> Batches:
    """Of four classes, in rows 0, 10, 20 …"""
    numbers = torch.arange(images)
    return Batches(noise(images), batch, labels=numbers % 4, rows=10 * numbers)


@pytest.fixture(scope="module")
def network() -> Network:
    return build_network("small_cnn", classes=4, image_size=16, seed=5)


def test_the_stage_keeps_the_masks_of_the_rule(network: Network, tmp_path: Path) -> None:
    loader = batches(11, batch=4)
    summary = compute_mask_set(network, loader, MaskingConfig(), Run(), folder=tmp_path / "set")
    found = MaskSet.open(tmp_path / "set").masks(torch.arange(11) * 10, 16, torch.device("cpu"))
    maps = saliency(network, loader.pixels).maps
    assert torch.equal(found, masks_of(maps, (16, 16)))
    assert (summary.images, summary.non_finite) == (11, 0)
    assert summary.masked_share == pytest.approx(found.float().mean().item())
    assert summary.masked_share == MaskSet.open(tmp_path / "set").masked_share
    assert summary.nothing_masked == (found.sum((1, 2)) == 0).sum()


def test_batches_change_no_mask(network: Network, tmp_path: Path) -> None:
    for batch in (1, 5, 11):
        compute_mask_set(
            network, batches(11, batch=batch), MaskingConfig(), Run(), folder=tmp_path / str(batch)
        )
    sets = [MaskSet.open(tmp_path / name) for name in ("1", "5", "11")]
    found = [s.masks(torch.arange(11) * 10, 16, torch.device("cpu")) for s in sets]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_random_masks_are_as_many_as_the_salient_ones(network: Network, tmp_path: Path) -> None:
    for method in ("xgradcam", "random"):
        config = MaskingConfig(method=method)
        compute_mask_set(network, batches(6, batch=3), config, Run(seed=9), folder=tmp_path / method)
    rows = torch.arange(6) * 10
    salient, random = (
        MaskSet.open(tmp_path / m).masks(rows, 16, torch.device("cpu")) for m in ("xgradcam", "random")
    )
    assert torch.equal(salient.sum((1, 2)), random.sum((1, 2)))
    assert not torch.equal(salient, random)


def test_the_label_can_be_the_target(network: Network, tmp_path: Path) -> None:
    compute_mask_set(
        network, batches(6, batch=3), MaskingConfig(target="label"), Run(), folder=tmp_path / "set"
    )
    kept = MaskSet.open(tmp_path / "set").records(torch.arange(6) * 10)
    assert kept.targets.tolist() == [0, 1, 2, 3, 0, 1]


def test_broken_images_mask_nothing_and_are_counted(network: Network, tmp_path: Path) -> None:
    loader = batches(5, batch=5)
    loader.pixels[[1, 3]] = torch.nan
    summary = compute_mask_set(network, loader, MaskingConfig(), Run(), folder=tmp_path / "set")
    assert summary.non_finite == 2
    assert summary.nothing_masked >= 2
    found = MaskSet.open(tmp_path / "set").masks(torch.tensor([10, 30]), 16, torch.device("cpu"))
    assert not found.any()


def test_a_stopped_stage_leaves_nothing_and_the_mode_as_it_was(network: Network, tmp_path: Path) -> None:
    calls = iter([False, False, True])
    network.train()
    with pytest.raises(Stopped):
        compute_mask_set(
            network,
            batches(12, batch=4),
            MaskingConfig(),
            Run(should_stop=lambda: next(calls)),
            folder=tmp_path / "set",
        )
    assert list(tmp_path.iterdir()) == []
    assert network.training
    network.eval()


def test_what_fails_while_the_next_batch_runs_is_raised_and_leaves_nothing(
    network: Network, tmp_path: Path
) -> None:
    config = MaskingConfig(target="label")
    for images in (4, 12):  # in the only batch, and behind others
        loader = batches(images, batch=4)
        loader.labels[-4:] += 100  # of classes that the network does not know
        with pytest.raises(IndexError, match="out of range"):
            compute_mask_set(network, loader, config, Run(), folder=tmp_path / "set")
    assert list(tmp_path.iterdir()) == []
