"""What a job may cost: measured where a job has measured it, else a guess that says that it is one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.inference.backbones import NetworkSize
from app.jobs.estimate import STARTUP_SECONDS, Rate, estimate_job
from app.jobs.workload import Operation, work_of
from masktune.contract.hyperparameters import Hyperparameters
from masktune.contract.jobs import StageEstimate
from masktune.contract.vocabulary import Arm, JobKind, Stage
from tests.unit.app.jobs.test_workload import MASKTUNE, SPLITS

SIZE = NetworkSize(weights=1_000_000, features=512)
OTHER_NETWORK = replace(MASKTUNE, backbone="timm/unknown", image_size=224)


def rate(stage: Stage, operation: Operation, speed: float, **fields: object) -> Rate:
    known = Rate("job_1", JobKind.MASKTUNE, "ds_1", stage, operation, speed, "cpu")
    return known._replace(**fields)  # type: ignore[arg-type]  # fields of a test


ALL = [rate(stage, work.operation, 100.0) for stage, work in work_of(MASKTUNE).items()]


def erm_of(*rates: Rate) -> StageEstimate:
    return estimate_job(MASKTUNE, rates, SIZE).stages[0]


def test_rates_of_every_stage_measure_a_job() -> None:
    estimate = estimate_job(MASKTUNE, ALL, SIZE)
    images = sum(work.images for work in work_of(MASKTUNE).values())
    assert estimate.seconds == pytest.approx(STARTUP_SECONDS + images / 100)
    assert (estimate.source, estimate.device) == ("measured", "cpu")
    assert {stage.job for stage in estimate.stages} == {"job_1"}


def test_without_rates_every_stage_is_guessed() -> None:
    estimate = estimate_job(MASKTUNE, [], SIZE)
    assert (estimate.source, estimate.device) == ("guessed", None)
    assert {stage.source for stage in estimate.stages} == {"guessed"}
    assert all(stage.seconds > 0 for stage in estimate.stages)


def test_a_job_is_guessed_if_a_tenth_of_its_time_is() -> None:
    slow = [one for one in ALL if one.operation == "training"]
    estimate = estimate_job(MASKTUNE, slow, SIZE)
    assert estimate.source == "measured"  # the guessed forward passes take seconds beside two minutes
    fast = [one._replace(images_per_second=1e6) for one in slow]
    assert estimate_job(MASKTUNE, fast, SIZE).source == "guessed"


def test_a_rate_on_this_data_set_comes_before_others_and_one_of_this_kind_before_others() -> None:
    elsewhere = rate(Stage.ERM, "training", 1.0, dataset_id="ds_2", job_id="job_2")
    other_kind = rate(Stage.ERM, "training", 50.0, kind=JobKind.ERM, job_id="job_3")
    this = rate(Stage.ERM, "training", 70.0)
    assert erm_of(elsewhere, other_kind, this).job == "job_1"
    assert erm_of(elsewhere, other_kind).job == "job_3"


def test_of_other_data_sets_the_slowest_rate_counts() -> None:
    """There, features may have been computed before."""
    rates = [rate(Stage.ERM, "training", speed, dataset_id="ds_2") for speed in (900.0, 30.0, 600.0)]
    assert erm_of(*rates).seconds == pytest.approx(11_000 / 30, abs=0.1)


def test_another_stage_measures_the_same_operation_but_no_other() -> None:
    assert erm_of(rate(Stage.FINETUNE, "training", 50.0)).seconds == pytest.approx(220)
    assert erm_of(rate(Stage.MASK, "forward", 50.0)).source == "guessed"


def test_a_guess_grows_with_the_number_of_pixels() -> None:
    small, large = (
        estimate_job(replace(OTHER_NETWORK, image_size=side), [], SIZE).stages[0].seconds
        for side in (112, 224)
    )
    assert large == pytest.approx(4 * small, rel=0.01)


def test_memory_holds_batch_gradients_and_optimizer() -> None:
    sgd = estimate_job(MASKTUNE, [], SIZE).memory_bytes
    params = Hyperparameters(epochs=10).to_json()
    adam = params | {"optimizer": params["optimizer"] | {"name": "adam"}}
    assert estimate_job(replace(MASKTUNE, params=adam), [], SIZE).memory_bytes - sgd == 4 * SIZE.weights
    large = estimate_job(replace(MASKTUNE, params=params | {"batch_size": 1024}), [], SIZE).memory_bytes
    assert large > sgd


def test_a_frozen_backbone_keeps_features_in_memory_and_on_disk() -> None:
    frozen = replace(MASKTUNE, is_frozen=True)
    size, wider = SIZE, SIZE._replace(features=SIZE.features + 1)
    small, large = (estimate_job(frozen, [], one) for one in (size, wider))
    assert large.memory_bytes - small.memory_bytes == 2 * 4 * SPLITS["train"]
    assert large.disk_bytes - small.disk_bytes == 4 * sum(SPLITS.values())
    assert estimate_job(MASKTUNE, [], size).memory_bytes == estimate_job(MASKTUNE, [], wider).memory_bytes


def test_the_disk_holds_models_checkpoints_and_masks() -> None:
    disk = estimate_job(MASKTUNE, [], SIZE).disk_bytes
    # Three backbones; of each training, two epochs of weights and momentum; 216 bytes a mask.
    assert disk == 4 * SIZE.weights * (3 + 3 * 2 * 2) + 216 * 1000
    evaluated = replace(
        MASKTUNE, kind=JobKind.EVALUATE, params={"splits": ["test"]}, arms=(), reads_model=True
    )
    assert estimate_job(evaluated, [], SIZE).disk_bytes == 0
    retrained = replace(evaluated, kind=JobKind.RETRAIN_HEAD, params={}, arms=(Arm.RETRAINED,))
    assert estimate_job(retrained, [], SIZE).disk_bytes == 4 * SIZE.features * 1000
