"""What a job may cost: measured where it was, else a guess that says that it is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from masktune.contract.report.report import StageCost
from masktune.contract.vocabulary import Stage
from web.forms.estimate import (
    LITE0,
    MAP_LIMIT,
    MASK_LIMIT,
    OVERHEAD,
    MeasuredRates,
    Plan,
    estimate,
    measured_rates,
    work,
)

PLAN = Plan("masktune", {"train": 1000, "val": 100, "calibration": 200, "test": 300}, epochs=10, side=28)
RATES = {
    "erm": 1100.0,
    "mask": 1000.0,
    "finetune": 1100.0,
    "control": 1100.0,
    "calibrate": 600.0,
    "evaluate": 600.0,
}
EARLIER = MeasuredRates("job_1", "small_cnn", 28, False, RATES, "cpu")
PHOTOGRAPHS = replace(PLAN, epochs=None, side=500)
MAPS = 300 + 4 * (100 + 300)
"""Passes of a report that show where one model looks: maps of test, then val and test with four masks."""


def test_the_work_of_a_masktune_job() -> None:
    assert work(PLAN) == {
        "erm": 11_000, "mask": 1000, "finetune": 1100, "control": 1100,
        "calibrate": 600, "evaluate": 1200 + 2 * MAPS,
    }  # fmt: skip


def test_a_job_without_control_has_less_work() -> None:
    found = work(replace(PLAN, control=False))
    assert "control" not in found
    assert found["evaluate"] == 800 + 2 * MAPS


def test_a_frozen_backbone_processes_each_image_once_plain_and_once_masked() -> None:
    assert work(PHOTOGRAPHS) == {
        "erm": 1100, "mask": 1000, "finetune": 1000, "calibrate": 200, "evaluate": 300 + 2 * MAPS,
    }  # fmt: skip
    assert work(replace(PHOTOGRAPHS, control=False, epochs=99, finetune_epochs=9)) == work(PHOTOGRAPHS)
    assert work(replace(PHOTOGRAPHS, kind="erm"))["erm"] == 1100
    assert work(replace(PHOTOGRAPHS, freeze_backbone=False))["erm"] == 30 * 1100


def test_the_most_images_of_a_report_are_those_of_the_worker() -> None:
    from worker.report.saliency import COSTED, POOL

    assert (MAP_LIMIT, MASK_LIMIT) == (POOL, COSTED)


def test_a_measured_rate_is_used_and_named() -> None:
    found = estimate(PLAN, [EARLIER])
    assert found.is_measured
    assert "job_1" in found.basis
    assert found.seconds == pytest.approx(OVERHEAD + 10 + 1 + 1 + 1 + (600 + 1200 + 2 * MAPS) / 600)


@pytest.mark.parametrize(
    "other",
    [
        replace(EARLIER, backbone="resnet50"),
        replace(EARLIER, image_size=224),
        replace(EARLIER, is_frozen=True),
    ],
)
@pytest.mark.parametrize("image_size", [28, None])
def test_another_network_size_or_way_of_training_measures_nothing(
    other: MeasuredRates, image_size: int | None
) -> None:
    found = estimate(replace(PLAN, image_size=image_size), [other])
    assert not found.is_measured
    assert found.basis.startswith("A guess")


def test_of_a_frozen_training_only_the_masks_measure_the_network() -> None:
    """Its epochs, on features, run thousands of times as fast."""
    earlier = replace(EARLIER, backbone=LITE0, image_size=224, is_frozen=True, rates={**RATES, "mask": 100.0})
    found = estimate(PHOTOGRAPHS, [earlier])
    assert found.is_measured
    assert found.seconds == pytest.approx(OVERHEAD + sum(work(PHOTOGRAPHS).values()) / 100)
    assert not estimate(PHOTOGRAPHS, [replace(earlier, rates={"erm": 99_000.0})]).is_measured


def test_any_training_of_the_network_measures_a_job_without_training() -> None:
    plan = Plan("mask", {"train": 1000}, backbone=LITE0, image_size=224, side=500)
    for frozen in (True, False):
        assert estimate(plan, [MeasuredRates("job_1", LITE0, 224, frozen, RATES, "cpu")]).is_measured


def test_an_estimate_that_is_mostly_guessed_says_so() -> None:
    found = estimate(PLAN, [replace(EARLIER, rates={"mask": 1000.0})])
    assert not found.is_measured


def test_more_epochs_cost_more_and_larger_images_cost_more() -> None:
    base = estimate(PLAN, []).seconds
    assert estimate(replace(PLAN, epochs=100), []).seconds > base
    assert estimate(replace(PLAN, image_size=64), []).seconds > base


@pytest.mark.parametrize(
    ("side", "network", "size", "epochs"),
    [(8, "small_cnn", 28, 15), (64, "small_cnn", 64, 15), (100, LITE0, 100, 30), (500, LITE0, 224, 30)],
)
def test_expected_defaults_follow_the_image_size(side: int, network: str, size: int, epochs: int) -> None:
    plan = Plan("erm", {"train": 10}, side=side)
    assert (plan.network, plan.size, plan.expected_epochs, plan.is_frozen) == (
        network,
        size,
        epochs,
        side > 64,
    )


@pytest.mark.parametrize("side", [8, 28, 64, 65, 500])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"backbone": "resnet18"},
        {"backbone": "small_cnn"},
        {"backbone": "tf_efficientnet_lite0"},
        {"pretrained": False},
        {"pretrained": True},
        {"freeze_backbone": False},
        {"backbone": "resnet18", "pretrained": True, "freeze_backbone": True},
    ],
)
def test_expected_defaults_are_those_of_the_service(side: int, asked: dict[str, Any]) -> None:
    from models.defaults import default_hyperparameters

    chosen = default_hyperparameters(side, 1000, 2, **asked)
    plan = Plan("erm", {"train": 1000}, side=side, **asked)
    assert (plan.network, plan.size, plan.expected_epochs) == (
        chosen.backbone,
        chosen.image_size,
        chosen.epochs,
    )
    assert plan.is_frozen == asked.get("freeze_backbone", chosen.freeze_backbone)


def test_a_report_s_cost_is_read() -> None:
    cost = [
        StageCost(stage=Stage.ERM, seconds=1.0, images_per_second=50.0, device="cpu"),
        StageCost(stage=Stage.MASK, seconds=1.0, images_per_second=None, device=None),
    ]
    found = measured_rates(
        "job_2", {"backbone": "resnet18", "image_size": 224, "freeze_backbone": True}, cost
    )
    assert (found.rates, found.device, found.is_frozen) == ({"erm": 50.0}, "cpu", True)


def test_jobs_without_training_pass_only_their_images() -> None:
    assert work(replace(PLAN, kind="mask")) == {"mask": 1000}
    assert work(replace(PLAN, kind="finetune", finetune_epochs=2)) == {
        "finetune": 2200, "calibrate": 200, "evaluate": 400 + MAPS,
    }  # fmt: skip
    assert work(replace(PLAN, kind="predict", images={"test": 300})) == {"evaluate": 300}
    assert work(replace(PLAN, kind="evaluate", images={"train": 9, "only_bg_t": 40})) == {
        "evaluate": 49 + 4 * 49
    }


@pytest.mark.parametrize(
    ("kind", "expected"), [("mask", ("Training images", 1000)), ("predict", ("Images", 1600))]
)
def test_the_image_count_depends_on_the_kind(kind: str, expected: tuple[str, int]) -> None:
    assert replace(PLAN, kind=kind).image_count == expected
