"""A job that starts from published weights without a classifier: its stages, heads, maps and report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from core.tables import JobRow
from masktune.contract.hyperparameters import MitigateConfig
from masktune.contract.report.groups import EarlyStageGroups
from masktune.contract.vocabulary import JobKind, stages_of
from models.backbones.add_weights import add_weights
from tests.support.jobs.bench import Bench, bench_with_digits
from tests.support.jobs.real_jobs import QUICK, hyperparameters

pytestmark = pytest.mark.trains

NAME = "vit_tiny_patch16_dinov3_qkvb"
PARAMS = MitigateConfig.from_json(
    hyperparameters(backbone=NAME, pretrained=True, freeze_backbone=True, image_size=64)
    | {"head": QUICK, "masktune": False}
).to_json()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("without")
    with pytest.MonkeyPatch.context() as patch, bench_with_digits(folder, images=80) as opened:
        patch.setattr(torch.hub, "_hub_dir", str(folder / "hub"))
        safetensors.torch.save_file(timm.create_model(NAME).state_dict(), folder / "model.safetensors")
        add_weights(NAME, folder / "model.safetensors")
        yield opened


@pytest.fixture(scope="module")
def job(bench: Bench) -> JobRow:
    return bench.succeed(bench.run(JobKind.MITIGATE, params=PARAMS))[0]


def test_the_job_looks_for_the_shortcut_in_its_early_blocks(bench: Bench, job: JobRow) -> None:
    assert tuple(job.done) == stages_of(JobKind.MITIGATE, PARAMS)
    groups = bench.report(job).groups
    assert isinstance(groups, EarlyStageGroups)
    named = {name for pair in groups.details.agreements for name in (pair.shallow, pair.deep)}
    assert named <= {"blocks.1", "blocks.3", "blocks.5"}
    assert len(named) > 1


def test_its_models_keep_the_added_weights_below_the_last_layer(bench: Bench, job: JobRow) -> None:
    added = safetensors.torch.load_file(next(Path(torch.hub.get_dir(), "checkpoints").glob("*.safetensors")))
    networks = [bench.load(id)[0] for id in job.models.values()]
    for network in networks:
        own = network.model.state_dict()
        assert own.keys() - added.keys() == {"head.weight", "head.bias"}
        assert all(torch.equal(own[key], tensor) for key, tensor in added.items())
    assert not networks[0].classifier.weight.equal(networks[1].classifier.weight)


def test_its_report_has_maps(bench: Bench, job: JobRow) -> None:
    assert "data:image" in bench.page(job)
