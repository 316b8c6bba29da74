"""What a job may cost: measured where it was, else a guess that says that it is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from web.estimate import OVERHEAD, Measured, Plan, estimate, measured, work

PLAN = Plan("masktune", {"train": 1000, "val": 100, "calibration": 200, "test": 300}, epochs=10, side=28)
RATES = {
    "erm": 1100.0,
    "mask": 1000.0,
    "finetune": 1100.0,
    "control": 1100.0,
    "calibrate": 600.0,
    "evaluate": 600.0,
}
EARLIER = Measured("job_1", "small_cnn", 28, "ds_1", RATES, "cpu")


def test_the_work_of_a_masktune_job() -> None:
    assert work(PLAN) == {
        "erm": 11_000, "mask": 1000, "finetune": 1100, "control": 1100, "calibrate": 600, "evaluate": 1800,
    }  # fmt: skip


def test_without_a_control_there_is_less() -> None:
    found = work(replace(PLAN, control=False))
    assert "control" not in found
    assert found["evaluate"] == 1200


def test_a_measured_rate_is_used_and_named() -> None:
    found = estimate(PLAN, [EARLIER])
    assert found.measured
    assert "job_1" in found.basis
    assert found.seconds == pytest.approx(OVERHEAD + 10 + 1 + 1 + 1 + 1 + 3)


@pytest.mark.parametrize(
    "other", [replace(EARLIER, backbone="resnet50"), replace(EARLIER, image_size=224, rates={})]
)
def test_another_network_measures_nothing(other: Measured) -> None:
    found = estimate(replace(PLAN, image_size=28), [other])
    assert not found.measured
    assert found.basis.startswith("A guess")


def test_an_estimate_that_is_mostly_guessed_says_so() -> None:
    found = estimate(PLAN, [replace(EARLIER, rates={"mask": 1000.0})])
    assert not found.measured


def test_more_epochs_cost_more_and_larger_images_cost_more() -> None:
    base = estimate(PLAN, []).seconds
    assert estimate(replace(PLAN, epochs=100), []).seconds > base
    assert estimate(replace(PLAN, image_size=64), []).seconds > base


@pytest.mark.parametrize(
    ("side", "network", "epochs"), [(28, "small_cnn", 15), (64, "small_cnn", 15), (500, "resnet18", 30)]
)
def test_what_the_service_is_expected_to_choose(side: int, network: str, epochs: int) -> None:
    plan = Plan("erm", {"train": 10}, side=side)
    assert (plan.network, plan.passes) == (network, epochs)


def test_the_expected_choice_is_the_one_of_the_service() -> None:
    from models.defaults import default_hyperparameters

    for side in (28, 64, 65, 500):
        chosen, plan = default_hyperparameters(side, 1000, 2), Plan("erm", {"train": 1000}, side=side)
        assert (plan.network, plan.passes) == (chosen.backbone, chosen.epochs)


def test_a_report_s_cost_is_read() -> None:
    cost: list[dict[str, Any]] = [
        {"stage": "erm", "images_per_second": 50, "device": "cpu"},
        {"stage": "mask", "images_per_second": None},
    ]
    found = measured("job_2", None, {"backbone": "resnet18", "image_size": 224}, cost)
    assert (found.rates, found.device) == ({"erm": 50.0}, "cpu")


def test_what_looks_at_a_model_passes_only_the_images_that_it_looks_at() -> None:
    assert work(replace(PLAN, kind="mask")) == {"mask": 1000}
    assert work(replace(PLAN, kind="finetune", finetune_epochs=2)) == {
        "finetune": 2200, "calibrate": 200, "evaluate": 600,
    }  # fmt: skip
    assert work(replace(PLAN, kind="predict", images={"test": 300})) == {"evaluate": 300}
    assert work(replace(PLAN, kind="evaluate", images={"train": 9, "only_bg_t": 40})) == {"evaluate": 49}


@pytest.mark.parametrize(
    ("kind", "counted"), [("mask", ("Training images", 1000)), ("predict", ("Images", 1600))]
)
def test_the_images_that_a_job_is_about(kind: str, counted: tuple[str, int]) -> None:
    assert replace(PLAN, kind=kind).counted == counted
