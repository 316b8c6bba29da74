"""Jobs side by side: their figures, the differences to ERM, and the fields in which they differ."""

from __future__ import annotations

from typing import Any

import pytest

from masktune.contract.jobs import Job
from masktune.contract.jobs.comparison import INFERRED, SEVERAL_DATASETS, Comparison, side_by_side
from masktune.contract.report import Report
from masktune.contract.report.groups import GroupSlice
from tests.support.answers import JOB
from tests.support.reports import early_stage_groups, report

ARMS = ["erm", "masktune_control", "masktune"]


def compared(*changes: dict[str, Any], groups: bool = True) -> Comparison:
    """A comparison of jobs with these fields, which all have the same figures."""
    reported = Report.model_validate(report(groups=groups))
    if not groups:
        share = {"n": 10, "low": 0, "high": 1}
        accuracies = {arm: share | {"correct": n, "accuracy": n / 10} for n, arm in enumerate(ARMS, 5)}
        slices = [
            GroupSlice.model_validate(
                {"name": name, "inferred": True, "n": 10, "share": 0.5, "true_groups": None, "examples": []}
                | {"accuracies": shares}
            )
            for name, shares in (("a", accuracies), ("b", {"erm": share | {"correct": 9, "accuracy": 0.9}}))
        ]
        section = early_stage_groups("stages_agree").model_copy(update={"slices": slices})
        reported = reported.model_copy(update={"groups": section})
    plain = {arm: figures.model_dump(exclude={"groups"}) for arm, figures in reported.metrics["test"].items()}
    metrics = {arm: {"test": figures} for arm, figures in plain.items()}
    jobs = [
        Job.model_validate(JOB | {"id": f"job_{number}", "metrics": metrics} | change)
        for number, change in enumerate(changes)
    ]
    return side_by_side(jobs, {job.id: reported for job in jobs if job.metrics})


def test_every_model_has_its_figures_and_the_difference_to_erm_of_its_job() -> None:
    comparison = compared({})
    assert [model.arm for model in comparison.models] == ARMS
    erm, _, masktune = comparison.models
    assert (masktune.split, masktune.n, masktune.inferred_worst_group) == ("test", 400, None)
    assert erm.to_erm == {"accuracy": 0, "worst_group_accuracy": 0}
    for name, difference in masktune.to_erm.items():
        assert difference == getattr(masktune.metrics, name) - getattr(erm.metrics, name) > 0.3
    assert (comparison.fields, comparison.notes) == ({}, [])


def test_without_groups_the_worst_inferred_one_stands_and_is_not_compared() -> None:
    comparison = compared({}, groups=False)
    assert [model.inferred_worst_group for model in comparison.models] == [0.5, 0.6, 0.7]
    assert all(model.to_erm.keys() == {"accuracy"} for model in comparison.models)
    assert comparison.notes == [INFERRED]


def test_jobs_on_different_data_sets_stand_apart_and_a_job_without_figures_has_no_models() -> None:
    comparison = compared({"dataset": "ds_2"}, {}, {"dataset": "ds_2", "metrics": {}})
    assert [job.id for job in comparison.jobs] == ["job_1", "job_0", "job_2"]
    assert [model.job for model in comparison.models] == ["job_1"] * 3 + ["job_0"] * 3
    assert comparison.notes == [SEVERAL_DATASETS]


@pytest.mark.parametrize(
    ("params", "fields"),
    [
        ({"optimizer": {"momentum": 0.5}}, {"optimizer.momentum": {"job_0": 0.9, "job_1": 0.5}}),
        ({}, {}),
        ({"masking": {"sigmas": 1.0}}, {"masking.sigmas": {"job_0": 2.0, "job_1": 1.0}}),
    ],
)
def test_fields_are_those_in_which_the_jobs_differ(params: dict[str, Any], fields: dict[str, Any]) -> None:
    assert compared({}, {"params": params}).fields == fields


def test_jobs_of_plain_training_do_not_differ_in_masks() -> None:
    plain = {"kind": "erm", "params": {"masking": {"sigmas": 1.0}}}
    assert compared({"kind": "erm"}, plain).fields == {}


def test_jobs_differ_in_what_they_start_from_but_not_in_fields_that_one_of_them_lacks() -> None:
    evaluations = ({"kind": "evaluate", "inputs": {"model": f"mdl_{n}"}} for n in range(2))
    assert compared(*evaluations, {}).fields == {"model": {"job_0": "mdl_0", "job_1": "mdl_1"}}
