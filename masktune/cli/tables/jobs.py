"""A job and the plan of one as terminal tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from masktune.cli import completion
from masktune.cli.output import age, figure, new_table, table_of
from masktune.cli.progress import describe
from masktune.contract.vocabulary import STAGE_NAMES

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from masktune import ComparedModel, Comparison, Job, JobPlan, SplitMetrics
    from masktune.contract.jobs import JobInputs, Judgement


def table(job: Job) -> Table:
    """One job in full."""
    grid = table_of(job, f"{job.kind} job")
    grid.add_row("state", job.state if job.ended else f"{job.state}: {describe(job)}")
    grid.add_row("done", f"{job.progress.fraction:.0%}, attempt {job.attempt}")
    if (job.queue_position or 1) > 1:
        grid.add_row("place in queue", str(job.queue_position))
    if job.priority:
        grid.add_row("priority", str(job.priority))
    grid.add_row("data set", job.dataset or "–")
    _add_image_answers(grid, job.inputs)
    grid.add_row("queued", age(job.created_at))
    grid.add_row("started", age(job.started_at))
    grid.add_row("ended", age(job.ended_at))
    for arm, model in completion.in_order(job.models, completion.ARMS):
        grid.add_row(f"model {arm}", model or "–")
    for arm, splits in completion.in_order(job.metrics, completion.ARMS):
        grid.add_row(f"accuracy {arm}", _accuracies(splits))
    for one in job.judgements if len(job.judgements) > 1 else ():
        name = "current verdict" if one == job.current else "other verdict"
        grid.add_row(name, judgement_text(one))
    if job.error:
        grid.add_row("error", job.error.detail or job.error.title)
    return grid


def plan_table(plan: JobPlan) -> Table:
    """What a job would do, and what it may cost."""
    from masktune.contract.jobs.comparison import dotted_settings
    from masktune.contract.report.text.formats import byte_size, duration

    grid, estimate = new_table(title=f"{plan.kind} job, not started"), plan.estimate
    grid.add_row("data set", plan.dataset or "made of the source")
    _add_image_answers(grid, plan.inputs)
    for name, setting in dotted_settings(plan.params):
        grid.add_row(name, setting_text(setting))
    if estimate is None:
        grid.add_row("time", "known once the images are imported")
        return grid
    for stage in estimate.stages:
        grid.add_row(STAGE_NAMES.get(stage.stage, stage.stage), f"{duration(stage.seconds)}, {stage.source}")
    on_device = f" on {estimate.device}" if estimate.device else ""
    grid.add_row("time", f"about {duration(estimate.seconds)}, {estimate.source}{on_device}")
    grid.add_row("memory", f"about {byte_size(estimate.memory_bytes)}")
    grid.add_row("disk", f"about {byte_size(estimate.disk_bytes)}")
    return grid


def comparison(compared: Comparison) -> Group:
    """Jobs side by side, data set by data set, and the fields in which they differ."""
    from rich.console import Group

    columns = ("data set", "job", "model", "accuracy", "− ERM", "balanced", "worst group", "− ERM", "images")
    models = new_table(*columns)
    dataset_of = {job.id: job.dataset or "–" for job in compared.jobs}
    names = {job.id: job.name or job.id for job in compared.jobs}
    for model in compared.models:
        models.add_row(dataset_of[model.job], names[model.job], *_cells(model))
    fields = new_table("field", *names.values(), title="fields that differ")
    for name, settings in compared.fields.items():
        cells = (setting_text(settings[job]) if job in settings else "–" for job in dataset_of)
        fields.add_row(name, *cells)
    return Group(models, *([fields] if compared.fields else []), *compared.notes)


def _cells(model: ComparedModel) -> tuple[str, ...]:
    inferred, metrics = model.inferred_worst_group, model.metrics
    to_erm = {name: f"{difference:+.3f}" for name, difference in model.to_erm.items()}
    return (
        model.arm,
        figure(metrics.accuracy),
        to_erm.get("accuracy", "–"),
        figure(metrics.balanced_accuracy),
        figure(metrics.worst_group_accuracy) if inferred is None else f"{figure(inferred)} inferred",
        to_erm.get("worst_group_accuracy", "–"),
        str(model.n) if model.split == "test" else f"{model.n} of {model.split}",
    )


def _add_image_answers(grid: Table, inputs: JobInputs) -> None:
    if inputs.image_answers is not None:
        grid.add_row("goes by image answers of", inputs.image_answers.job)


def setting_text(setting: object) -> str:
    """A setting as `--set` takes it."""
    return setting if isinstance(setting, str) else json.dumps(setting)


def _accuracies(splits: dict[str, SplitMetrics]) -> str:
    by_split = {split: figures.accuracy for split, figures in splits.items()}
    ordered = completion.in_order(by_split, completion.SPLITS)
    return ", ".join(f"{split} {figure(accuracy)}" for split, accuracy in ordered)


def judgement_text(one: Judgement) -> str:
    """The verdict, the images that it rests on, and the command that says what to do next."""
    from masktune.contract.report.text import evaluation_statement, verdict_title

    title = "" if one.verdict is None else f"{verdict_title(one.verdict)[1]}. "
    images = ""
    if one.evaluation is not None:
        images = f"It rests on {evaluation_statement(one.evaluation)}. "
    return f"{title}{images}What to do next: masktune jobs report {one.job}"


def verdict(job: Job) -> str:
    from masktune.contract.report.text import verdict_title

    return verdict_title(job.verdict)[1] if job.verdict else "–"
