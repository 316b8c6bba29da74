"""The images that each stage of a job works on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.jobs.workload import MAP_LIMIT, MASK_LIMIT, Work, Workload, work_of
from masktune.contract.hyperparameters import (
    FinetuneConfig,
    Hyperparameters,
    MaskingConfig,
    MitigateConfig,
)
from masktune.contract.vocabulary import STAGES, Arm, JobKind, Stage, stages_of

SPLITS = {"train": 1000, "val": 100, "calibration": 200, "test": 300}
MASKTUNE = Workload(
    kind=JobKind.MASKTUNE,
    dataset_id="ds_1",
    splits=SPLITS,
    params=Hyperparameters(epochs=10).to_json(),
    arms=(Arm.ERM, Arm.MASKTUNE, Arm.MASKTUNE_CONTROL),
    reads_model=False,
    backbone="small_cnn",
    image_size=28,
    is_frozen=False,
)
MAPS, MASKS = 300, 2 * 300
"""Forward passes that show where one model looks, on test: with nothing masked, under two masks."""


def test_a_whole_network_sees_each_image_in_each_epoch_and_once_for_each_model() -> None:
    assert work_of(MASKTUNE) == {
        Stage.ERM: Work("training", 10 * 1100),
        Stage.INFER_GROUPS: Work("forward", 1000 + 600),
        Stage.MASK: Work("forward", 1000),
        Stage.FINETUNE: Work("training", 1100),
        Stage.CONTROL: Work("training", 1100),
        Stage.CALIBRATE: Work("forward", 3 * (200 + 100 + 1000)),
        Stage.EVALUATE: Work("forward", 3 * 300 + 2 * (MAPS + MASKS)),
    }


def test_a_frozen_backbone_sees_each_image_once_plain_and_once_masked() -> None:
    assert work_of(replace(MASKTUNE, is_frozen=True)) == {
        Stage.ERM: Work("forward", 1100),
        Stage.INFER_GROUPS: Work("forward", 600),
        Stage.MASK: Work("forward", 1000),
        Stage.FINETUNE: Work("forward", 1000),
        Stage.CONTROL: Work("fit", 1000),
        Stage.CALIBRATE: Work("forward", 300),
        Stage.EVALUATE: Work("forward", 300 + MAPS + 2 * MASKS),
    }


def test_images_that_inputs_are_compared_with_are_few_and_take_a_validation_split() -> None:
    many = replace(MASKTUNE, splits=SPLITS | {"train": 50_000})
    assert work_of(many)[Stage.CALIBRATE] == Work("forward", 3 * (200 + 100 + 2000))
    small = replace(MASKTUNE, splits=SPLITS | {"val": 98})
    assert work_of(small)[Stage.CALIBRATE] == Work("forward", 3 * (200 + 98))


@pytest.mark.parametrize(("most", "images"), [(400, 400 + 100), (10**6, 1000 + 100)])
def test_a_training_on_a_part_of_train_sees_fewer_images_and_masks_are_made_of_all(
    most: int, images: int
) -> None:
    params = Hyperparameters(epochs=10, max_train_samples=most).to_json()
    work = work_of(replace(MASKTUNE, params=params))
    assert work[Stage.ERM] == Work("training", 10 * images)
    assert work[Stage.FINETUNE] == Work("training", images)
    assert work[Stage.MASK] == Work("forward", 1000)


def test_iterations_and_epochs_multiply_the_finetune() -> None:
    params = Hyperparameters(masking=MaskingConfig(iterations=3), finetune=FinetuneConfig(epochs=2))
    assert work_of(replace(MASKTUNE, params=params.to_json()))[Stage.FINETUNE] == Work("training", 6 * 1100)


def test_a_job_that_starts_from_a_model_compares_it_too() -> None:
    work = work_of(replace(MASKTUNE, kind=JobKind.FINETUNE, arms=(Arm.MASKTUNE,), reads_model=True))
    assert work[Stage.EVALUATE] == Work("forward", 2 * 300 + 2 * (MAPS + MASKS))


def test_a_retrained_head_and_its_control_are_fits_on_the_features_of_one_pass() -> None:
    arms = (Arm.RETRAINED, Arm.RETRAINED_CONTROL)
    work = work_of(replace(MASKTUNE, kind=JobKind.RETRAIN_HEAD, params={}, arms=arms, reads_model=True))
    assert work[Stage.INFER_GROUPS] == Work("forward", 1000 + 600)
    assert work[Stage.RETRAIN_HEAD] == Work("fit", 1000)
    assert work[Stage.HEAD_CONTROL] == Work("fit", 1000)


def test_an_evaluation_and_a_prediction_see_the_splits_that_were_asked_for() -> None:
    evaluated = replace(
        MASKTUNE, kind=JobKind.EVALUATE, params={"splits": ["train"]}, arms=(), reads_model=True
    )
    assert work_of(evaluated)[Stage.EVALUATE] == Work("forward", 1000 + 1000 + 2 * 512)
    assert work_of(replace(evaluated, kind=JobKind.PREDICT, params={"split": "test"})) == {
        Stage.PREDICT: Work("forward", 300)
    }


@pytest.mark.parametrize("kind", [kind for kind in STAGES if kind is not JobKind.IMPORT])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_every_stage_of_a_kind_has_work(kind: JobKind, is_frozen: bool) -> None:
    params = MitigateConfig(seeds=2).to_json() | {"splits": ["test"], "split": "test"}
    job = replace(MASKTUNE, kind=kind, params=params, reads_model=True, is_frozen=is_frozen)
    assert tuple(work_of(job)) == stages_of(kind, params)
    assert all(work.images for work in work_of(job).values())


def test_the_most_images_of_a_report_are_those_of_the_worker() -> None:
    from worker.report.saliency import COSTED, POOL  # imports torch

    assert (MAP_LIMIT, MASK_LIMIT) == (POOL, COSTED)
