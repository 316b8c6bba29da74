"""A pass that another process rebuilds computes the same bytes, in any order of its shards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from models.mitigation import stage_features
from models.mitigation.stage_features import StageFeatures
from models.run import Run, ignore_progress
from tests.integration.worker.rebuilt_passes import rebuilt
from tests.integration.worker.report.test_saliency import bench
from tests.support.stage_features import pooled_features
from worker.context import StageContext
from worker.networks import passes
from worker.networks.features import NetworkFeatures, loader_for
from worker.networks.passes import NetworkPass, Output, save_training_split
from worker.networks.training import load
from worker.passes.shards import ShardedPass
from worker.results import ModelSpec


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[StageContext, ModelSpec]:
    """A model and 24 images in train, of which the axes are fitted to 9: shards have 4 and batches 3."""
    for name, number in (("_DIRECTIONS", 4), ("FITTING_IMAGES", 8)):
        monkeypatch.setattr(stage_features, name, number)
    for name, number in (("SHARD_IMAGES", 6), ("_SMALL_BATCH", 3)):
        monkeypatch.setattr(passes, name, number)
    return bench(tmp_path, {"sigmas": 1.0})


def _files(sharded: ShardedPass, numbers: Iterable[int], folder: Path) -> dict[int, bytes]:
    files = {}
    for number, write in sharded.compute(numbers, ignore_progress):
        place = folder / str(number)
        place.mkdir(parents=True)
        write(place)
        files[number] = (place / "part.npz").read_bytes()
    return files


@pytest.mark.parametrize("output", ["logits", "values", "pooled", "early"])
def test_a_rebuilt_pass_is_the_same(
    output: Output, job: tuple[StageContext, ModelSpec], tmp_path: Path
) -> None:
    context, model = job
    network, _ = load(context, model)
    save_training_split(context, network, Run(), tmp_path, model=model.id)  # leaves the axes for helpers
    own = NetworkPass(context, network, output, split="train", model=model.id)
    other = rebuilt(context, own)
    numbers = range(len(own.sizes))
    assert len(numbers) >= 2
    forwards = _files(own, numbers, tmp_path / "own")
    one_by_one = [_files(other, [number], tmp_path / "other") for number in reversed(numbers)]
    assert {number: part for files in one_by_one for number, part in files.items()} == forwards


def test_the_training_split_is_joined_in_ascending_order(
    job: tuple[StageContext, ModelSpec], tmp_path: Path
) -> None:
    context, model = job
    network, _ = load(context, model)
    save_training_split(context, network, Run(), tmp_path, model=None)
    plain = NetworkPass(context, network, "values", split="train", model=None)
    assert plain.arguments is None
    context.compute_shards(plain, ignore_progress)
    values = np.concatenate([columns["values"] for _, columns in plain.parts()])
    np.testing.assert_allclose(np.load(tmp_path / "values.npy"), values, atol=1e-6)
    loaded = StageFeatures.load(tmp_path, last=None)  # type: ignore[arg-type]  # not looked at
    assert [len(coordinates) for coordinates in loaded.early] == [24] * len(loaded.stages)
    assert all(np.isfinite(coordinates).all() for coordinates in loaded.early)
    assert all((np.ptp(coordinates, axis=0) > 0).all() for coordinates in loaded.early)
    work = Path(context.artifacts.root, context.workspace.key)
    assert not list(work.glob("pooled-*")), "the shards go when they are joined"
    assert list(work.glob("axes-*"))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("values_first", [False, True])
def test_another_split_has_coordinates_along_the_axes_of_train(
    frozen: bool, values_first: bool, tmp_path: Path
) -> None:
    context, model = bench(tmp_path, {}, val=10)
    network, _ = load(context, model)
    provided = NetworkFeatures(context, network, frozen=frozen, model=model.id)
    if values_first:
        provided.values("val", Run())
    train = provided.stages(Run())
    pooled = pooled_features(network, loader_for(context, network, context.store.rows("val")), Run())
    for stage, axes, of_stage in zip(train.stages, train.axes, pooled, strict=True):
        expected = axes.coordinates(torch.from_numpy(of_stage))
        assert np.array_equal(provided.early("val", stage.name, Run()), expected)
    plain = NetworkPass(context, network, "values", split="val", model=None)
    context.compute_shards(plain, ignore_progress)
    values = np.concatenate([columns["values"] for _, columns in plain.parts()])
    assert np.array_equal(provided.values("val", Run()), values)


def test_what_a_job_sees_of_a_part_of_the_data_set_is_not_offered(
    job: tuple[StageContext, ModelSpec],
) -> None:
    context, model = job
    network, _ = load(context, model)
    context.__dict__["images"] = context.store  # as of a job that judges models on other images
    assert NetworkPass(context, network, "logits", split="train", model=model.id).arguments is None
