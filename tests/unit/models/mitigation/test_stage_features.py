"""Stage features: one pass gives the last features and each stage's coordinates, whatever the order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.backbones.build import build_network
from models.data.loading.batches import StoreLoader, make_loader
from models.data.loading.loader_settings import LoaderSettings
from models.mitigation import stage_features as module
from models.mitigation.features import compute_features
from models.mitigation.stage_features import (
    STAGES_FILE,
    StageFeatures,
    fitting_rows,
    principal_coordinates,
    shuffled,
)
from models.run import Run
from tests.support.stage_features import compute_stage_features, pooled_features, save_early
from tests.support.tensors import assert_close
from tests.unit.models.conftest import StoreFactory

RUN = Run()


def _loader(make_store: StoreFactory, *, mixed: bool = True, train: int = 24) -> StoreLoader:
    store = make_store(train=train, side=28)
    rows = store.rows("train")
    return make_loader(store, shuffled(rows) if mixed else rows, LoaderSettings(28, 8), RUN)


def _coordinates(batches: list[list[torch.Tensor]]) -> torch.Tensor:
    """Those of a single stage, float32."""
    _, coordinates = principal_coordinates(iter(batches))
    return torch.cat([part for (part,) in coordinates]).float()


def test_the_last_features_are_those_of_a_plain_pass(make_store: StoreFactory) -> None:
    network = build_network("small_cnn", classes=2, image_size=28)
    features = compute_stage_features(network, _loader(make_store), RUN)
    plain = compute_features(network, _loader(make_store, mixed=False), RUN)
    np.testing.assert_array_equal(features.last.rows, plain.rows)
    np.testing.assert_array_equal(features.last.labels, plain.labels)
    np.testing.assert_allclose(features.last.values, plain.values, atol=1e-5)
    assert [len(coordinates) for coordinates in features.early] == [24, 24, 24]
    assert all(coordinates.shape[1] == 23 for coordinates in features.early)  # a dimension fewer than images


def test_a_second_pass_gives_the_same_bits(make_store: StoreFactory) -> None:
    network = build_network("small_cnn", classes=2, image_size=28)
    first, second = (compute_stage_features(network, _loader(make_store), RUN) for _ in range(2))
    for some, others in zip(first.early, second.early, strict=True):
        np.testing.assert_array_equal(some, others)


def test_stored_stages_are_mapped_from_their_files(make_store: StoreFactory, tmp_path: Path) -> None:
    network = build_network("small_cnn", classes=2, image_size=28)
    features = compute_stage_features(network, _loader(make_store), RUN)
    save_early(features, tmp_path)
    loaded = StageFeatures.load(tmp_path, features.last)
    assert loaded.stages == features.stages
    for stored, computed in zip(loaded.early, features.early, strict=True):
        assert isinstance(stored, np.memmap)
        assert stored.dtype == np.float16
        np.testing.assert_array_equal(stored, computed)


def test_a_folder_without_the_names_of_the_stages_has_none(make_store: StoreFactory, tmp_path: Path) -> None:
    """The names are written last: a killed process leaves coordinates without them."""
    network = build_network("small_cnn", classes=2, image_size=28)
    features = compute_stage_features(network, _loader(make_store), RUN)
    save_early(features, tmp_path)
    (tmp_path / STAGES_FILE).unlink()
    with pytest.raises(FileNotFoundError):
        StageFeatures.load(tmp_path, features.last)


def test_coordinates_keep_the_distances_between_images() -> None:
    values = torch.randn(40, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 13) + 5
    coordinates = _coordinates([[values[:25]], [values[25:]]])
    standardised = (values - values.mean(0)) / values.std(0, correction=0)
    assert_close(
        torch.cdist(coordinates, coordinates),
        torch.cdist(standardised, standardised),
        atol=0.02,
        rtol=0.01,
    )


def test_images_after_the_first_ones_are_projected_on_their_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DIRECTIONS", 3)
    monkeypatch.setattr(module, "FITTING_IMAGES", 20)
    values = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) @ torch.randn(4, 30)
    parts = [[values[first : first + 10]] for first in range(0, 60, 10)]
    coordinates = _coordinates(parts)
    assert coordinates.shape == (60, 3)
    assert torch.equal(coordinates[:20], _coordinates(parts[:2]))


def test_equal_images_have_no_direction_in_which_they_differ() -> None:
    assert _coordinates([[torch.ones(6, 4)]]).shape == (6, 0)


def test_axes_are_fitted_to_no_more_rows_than_fit_into_memory(
    make_store: StoreFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_network("small_cnn", classes=2, image_size=28)
    rows = fitting_rows(network, np.arange(9000))
    assert rows.tolist() == shuffled(np.arange(9000))[:4096].tolist()
    width = sum(stage.shape[1] for stage in pooled_features(network, _loader(make_store), RUN))
    monkeypatch.setattr(module, "_FITTING_BYTES", 1000 * 4 * width)
    assert len(fitting_rows(network, np.arange(9000))) == 1000
