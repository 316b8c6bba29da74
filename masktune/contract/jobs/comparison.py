"""The models of several jobs side by side, and the fields in which the jobs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field, SerializeAsAny

from masktune.contract.base import ArmName, Shape
from masktune.contract.jobs.job import Job
from masktune.contract.models import SplitMetrics
from masktune.contract.report import Report
from masktune.contract.report.text.names import in_order, splits_in_order
from masktune.contract.vocabulary import Arm, JobKind

SEVERAL_DATASETS = "These jobs are on different data sets: compare figures on the same data set alone."
INFERRED = (
    "“Inferred” is the lowest of the groups that the job inferred among its training images. ERM was trained "
    "on them and looks better for it, so no difference is shown."
)
_UNUSED: Mapping[str, set[str]] = {JobKind.ERM: {"masking", "finetune", "control"}}
"""Parameters that jobs of a kind have, but do not use."""


class ComparedModel(Shape):
    """One model of a job, on the test split if it was measured there."""

    job: str
    arm: ArmName
    split: str
    n: int = Field(description="Images of the split.")
    metrics: SplitMetrics
    to_erm: dict[str, float] = Field(
        description="`accuracy` and `worst_group_accuracy` minus those of the ERM model of the same job."
    )
    inferred_worst_group: float | None = Field(
        None, description="Without groups: the lowest of those that the job inferred in its training images."
    )


class Comparison(Shape):
    """Jobs side by side."""

    jobs: list[SerializeAsAny[Job]] = Field(description="Those of one data set follow each other.")
    models: list[ComparedModel] = Field(description="In the order of their jobs; of jobs that have figures.")
    fields: dict[str, dict[str, Any]] = Field(
        description="The fields in which jobs that have them differ: dotted name → id of the job → setting."
    )
    notes: list[str] = Field(description="What to know of the figures.")


def side_by_side(jobs: Sequence[Job], reports: Mapping[str, Report]) -> Comparison:
    """Compare the jobs; `reports` by job, of those that have one."""
    in_sections = sorted(jobs, key=lambda job: job.dataset or "")
    models = [model for job in in_sections if job.id in reports for model in _models(job, reports[job.id])]
    notes = {
        SEVERAL_DATASETS: len({job.dataset for job in jobs}) > 1,
        INFERRED: any(model.inferred_worst_group is not None for model in models),
    }
    return Comparison(
        jobs=in_sections,
        models=models,
        fields=_differing(in_sections),
        notes=[note for note, holds in notes.items() if holds],
    )


def _models(job: Job, report: Report) -> Iterator[ComparedModel]:
    for split in splits_in_order(report)[:1]:
        for arm in in_order(report.metrics[split]):
            metrics, erm = (job.metrics.get(one, {}).get(split, SplitMetrics()) for one in (arm, Arm.ERM))
            slices = report.groups.slices if report.groups and report.groups.inferred else []
            inferred_accuracies = [one.accuracies[arm].accuracy for one in slices if arm in one.accuracies]
            yield ComparedModel(
                job=job.id,
                arm=arm,
                split=split,
                n=report.metrics[split][arm].n,
                metrics=metrics,
                to_erm={
                    name: getattr(metrics, name) - getattr(erm, name)
                    for name in ("accuracy", "worst_group_accuracy")
                    if None not in (getattr(metrics, name), getattr(erm, name))
                },
                inferred_worst_group=min(inferred_accuracies, default=None)
                if metrics.worst_group_accuracy is None
                else None,
            )


def dotted_settings(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, setting) of each parameter, or field of a request, whose metadata are one."""
    for name, setting in fields.items():
        if isinstance(setting, dict) and name != "metadata":
            yield from dotted_settings(setting, f"{prefix}{name}.")
        else:
            yield prefix + name, setting


def _differing(jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """The settings by field and job, of fields that are not the same in all jobs that have them."""
    rows: dict[str, dict[str, Any]] = {}
    for job in jobs:
        inputs = job.inputs.model_dump(include={"model", "mask_set"}, exclude_none=True)
        unused = _UNUSED.get(job.kind)
        for name, setting in dotted_settings(inputs | job.params.model_dump(mode="json", exclude=unused)):
            rows.setdefault(name, {})[job.id] = setting
    return {
        name: settings
        for name, settings in rows.items()
        if any(setting != next(iter(settings.values())) for setting in settings.values())
    }
