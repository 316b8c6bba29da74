"""Masks computed in shards, by whomever and in any order, are those of one pass over all images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from masktune.contract.vocabulary import Stage
from models.data.loading import loaders
from models.data.loading.loaders import map_loader
from models.masking.compute import RANDOM, compute_mask_set
from models.run import Progress, Stopped, ignore_progress
from models.saliency import METHODS
from tests.integration.worker.rebuilt_passes import rebuilt
from tests.integration.worker.report.test_saliency import bench
from worker.context import StageContext
from worker.networks import passes
from worker.networks.training import given_model, load
from worker.passes.shards import put_shard
from worker.stages.mask import MaskPass, mask

IMAGES = 17
"""The last is alone behind two shards of 8, and behind batches of 4."""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "SHARD_IMAGES", 8)
    monkeypatch.setattr(loaders, "_SMALL_BATCH", 4)


def _job(folder: Path, masking: dict[str, Any], *, batch_size: int = 4, **params: Any) -> StageContext:
    context, model = bench(folder, masking, count=IMAGES, batch_size=batch_size, **params)
    spec = replace(context.spec, model=model.id)
    return replace(context, stage=Stage.MASK, spec=spec)


def _pass(context: StageContext) -> MaskPass:
    network, _ = load(context, given_model(context))
    masking = context.params.masking.with_chosen(1.25, iterations=3)
    return MaskPass(context, network, replace(context.params, masking=masking))


def _rebuilt(context: StageContext, own: MaskPass) -> MaskPass:
    other = rebuilt(context, own)
    assert isinstance(other, MaskPass)
    return other


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("masking", "params", "sizes"),
    [
        *(({"method": method, "sigmas": 1.0}, {}, [8, 9]) for method in (*METHODS, RANDOM)),
        ({"sigmas": 0.5, "target": "label", "crop": "square"}, {}, [8, 9]),
        ({"share": 0.2, "crop": "centre"}, {"seed": 7}, [8, 9]),
        ({"sigmas": 1.0}, {"batch_size": 5}, [5, 5, 5, 2]),
        ({"sigmas": 1.0}, {"batch_size": 8}, [8, 9]),
        ({"sigmas": 1.0}, {"batch_size": 10}, [10, 7]),
    ],
    ids=str,
)
def test_joined_shards_are_the_mask_set_of_one_pass(
    masking: dict[str, Any], params: dict[str, Any], sizes: list[int], tmp_path: Path
) -> None:
    context = _job(tmp_path, masking, **params)
    own, config, run = _pass(context), context.params, context.run
    network, _ = load(context, given_model(context))
    loader = map_loader(context.store, config, run)
    summary = compute_mask_set(network, loader, config.masking, run, folder=tmp_path / "whole")

    assert own.sizes == sizes
    for number, write in _rebuilt(context, own).compute([len(sizes) - 1, 0], ignore_progress):
        assert put_shard(context.artifacts, context.key_of(own), number, write)
    sharded = mask(context)
    assert _files(context.artifacts.folder(sharded.artifact)) == _files(tmp_path / "whole")
    assert not context.artifacts.names(context.key_of(own)), "the shards go when they are joined"
    seconds, rate = sharded.summary.seconds, sharded.summary.images_per_second
    assert sharded.summary == replace(summary, seconds=seconds, images_per_second=rate)


def test_what_was_measured_for_auto_is_told_to_other_workers(tmp_path: Path) -> None:
    context = _job(tmp_path, {"sigmas": "auto"})
    own = _pass(context)
    ((number, write),) = _rebuilt(context, own).compute([1], ignore_progress)
    put_shard(context.artifacts, context.key_of(own), number, write)
    ((_, write),) = own.compute([1], ignore_progress)
    (tmp_path / "own").mkdir()
    write(tmp_path / "own")
    folder = context.artifacts.folder(context.key_of(own, 1))
    assert _files(folder) == _files(tmp_path / "own")
    assert b'"sigmas": 1.25' in _files(folder)["mask_set.json"]


def test_other_masks_have_other_keys(tmp_path: Path) -> None:
    context = _job(tmp_path, {"sigmas": 1.0})
    network, _ = load(context, given_model(context))

    def key(**changes: Any) -> str:
        masking = replace(context.params.masking, **changes)
        return MaskPass(context, network, replace(context.params, masking=masking)).key

    others = [("sigmas", 2.0), ("method", RANDOM), ("target", "label"), ("share", 0.2), ("crop", "centre")]
    keys = {key(), *(key(**{name: value}) for name, value in others)}
    assert len(keys) == 1 + len(others)
    assert key(fill="mean", iterations=3) == key(), "what is done with masks changes none"


def test_a_stopped_stage_goes_on_from_its_shards(tmp_path: Path) -> None:
    context, reports = _job(tmp_path, {"sigmas": 1.0}), list[Progress]()
    key = context.key_of(_pass(context), 0)
    with pytest.raises(Stopped):
        mask(replace(context, should_stop=lambda: context.artifacts.exists(key)))
    assert not context.artifacts.exists(context.key(Stage.MASK))
    assert mask(replace(context, on_progress=reports.append)).summary.images == IMAGES
    assert reports[0].step >= 8
