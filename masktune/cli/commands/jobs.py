"""`masktune jobs …`"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from masktune.cli import completion
from masktune.cli.assignments import (
    ListedMetadata,
    ListedName,
    Metadata,
    NewMetadata,
    NewName,
    changes_of,
    metadata_of,
    parse_assignments,
)
from masktune.cli.output import ENDED_BADLY, USAGE, age, fail, figure, new_table, table_of
from masktune.cli.progress import describe, follow, last, watch_hint
from masktune.cli.session import Session, plain, with_session
from masktune.contract.hyperparameters import hyperparameters_of
from masktune.contract.hyperparameters.parameters import dotted
from masktune.contract.stages import STAGES

if TYPE_CHECKING:
    from rich.table import Table

    from masktune import Job, JobPlan, SplitMetrics
    from masktune.contract.jobs import JobInputs

app = typer.Typer(no_args_is_help=True, help="Start jobs, follow them, and read their reports.")

Id = Annotated[
    str,
    typer.Argument(
        metavar="JOB", help="Id of the job (job_…).", show_default=False, autocompletion=completion.jobs
    ),
]


@app.command()
@with_session
def start(
    session: Session,
    kind: Annotated[
        str,
        typer.Argument(
            help=f"{', '.join(completion.KINDS[:-1])} or {completion.KINDS[-1]}.",
            show_default=False,
            autocompletion=completion.words(*completion.KINDS),
        ),
    ],
    dataset: Annotated[
        str | None, typer.Option(help="Id of the data set.", autocompletion=completion.datasets)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Id or alias of the model to start from.", autocompletion=completion.models),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Name of a preset; single fields override it.", autocompletion=completion.presets),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the job.")] = None,
    metadata: Metadata = None,
    priority: Annotated[
        int | None, typer.Option(min=-100, max=100, help="Jobs of a higher priority start first [0].")
    ] = None,
    set: Annotated[  # the option's name
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A field of the job: --set optimizer.learning_rate=0.1. Tab completes the names.",
            autocompletion=completion.fields,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow the job to its end; exit code 4 unless it succeeds.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the resolved fields and what the job may cost.")
    ] = False,
) -> None:
    """Queue a job. Every field has a default that suits the data set."""
    if kind not in completion.KINDS:
        fail(f"there is no job of kind {kind!r}; use one of {', '.join(completion.KINDS)}", USAGE)
    named: dict[str, Any] = {"dataset": dataset, "model": model, "preset": preset}
    named |= {"name": name, "metadata": metadata_of(metadata) or None, "priority": priority}
    fields = parse_fields(kind, set) | {name: field for name, field in named.items() if field is not None}
    if dry_run:
        plan = session.client.jobs.plan(kind, **fields)
        session.show(plan, lambda: plan_table(plan))
        return
    job = session.client.jobs.start(kind, **fields)
    if not watch:
        session.show(job, lambda: table(job))
        return
    session.say(f"job {job.id} is queued")
    job = follow_to_end(session, job.id)
    session.show(job, lambda: table(job))
    require_success(session, job)


@app.command()
@with_session
def presets(session: Session) -> None:
    """List the presets."""
    session.show_all(
        session.client.jobs.presets(),
        ("preset", "title", "made for"),
        lambda p: (p.name, p.title, p.data or "–"),
    )


@app.command("list")
@with_session
def list_(
    session: Session,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Only jobs of this kind.", autocompletion=completion.words("import", *completion.KINDS)
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(help="Only jobs in this state.", autocompletion=completion.words(*completion.STATES)),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Only jobs of this data set.", autocompletion=completion.datasets)
    ] = None,
    name: ListedName = None,
    metadata: ListedMetadata = None,
    most: Annotated[int, typer.Option(min=1, help="List at most this many.")] = 20,
) -> None:
    """List jobs, newest first."""
    jobs = session.client.jobs.list(
        kind=kind,
        state=state,
        dataset=dataset,
        name=name,
        metadata=metadata_of(metadata),
        limit=min(most, 100),
    )
    session.show_all(
        jobs,
        ("id", "kind", "state", "stage", "done", "verdict", "queued"),
        lambda j: (
            j.id,
            j.kind,
            j.state,
            j.stage or "–",
            f"{j.progress.fraction:.0%}",
            _verdict(j),
            age(j.created_at),
        ),
        most=most,
    )


def _verdict(job: Job) -> str:
    from masktune.contract.report.text import verdict_title

    return verdict_title(job.verdict)[1] if job.verdict else "–"


@app.command()
@with_session
def show(session: Session, job_id: Id) -> None:
    """Show one job."""
    job = session.client.jobs.get(job_id)
    session.show(job, lambda: table(job))


@app.command()
@with_session
def edit(session: Session, job_id: Id, name: NewName = None, metadata: NewMetadata = None) -> None:
    """Change the name and the metadata of a job."""
    job = session.client.jobs.update(job_id, **changes_of(name, metadata))
    session.show(job, lambda: table(job))


@app.command()
@with_session
def watch(session: Session, job_id: Id) -> None:
    """Follow a job to its end; with --json, one line per event. Exit code 4 unless it succeeds."""
    if session.json:
        with watch_hint(job_id):
            for event in session.client.jobs.events(job_id):
                print(json.dumps(plain(event)), flush=True)
        job = session.client.jobs.get(job_id)
    else:
        job = follow_to_end(session, job_id)
        session.console.print(table(job))
    require_success(session, job)


@app.command()
@with_session
def cancel(session: Session, job_id: Id) -> None:
    """Cancel a job. What it has trained so far is kept, and `resume` continues from there."""
    job = session.client.jobs.cancel(job_id)
    session.show(job, lambda: table(job))


@app.command()
@with_session
def resume(session: Session, job_id: Id) -> None:
    """Resume a failed or cancelled job from its last checkpoint."""
    job = session.client.jobs.resume(job_id)
    session.show(job, lambda: table(job))


@app.command()
@with_session
def report(
    session: Session,
    job_id: Id,
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to write: a page (.html) or JSON (.json).")
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Show the job's report: before, after, and whether it helped."""
    jobs = session.client.jobs
    if save is not None:
        html = save.suffix.lower() in (".html", ".htm")
        text = jobs.report_html(job_id) if html else jobs.report(job_id).model_dump_json(indent=2)
        save.write_text(text, encoding="utf-8")
        session.say(f"the report is in {save}")
    if open:
        _open_page(session, jobs.report_html(job_id))
    if save is None and not open:
        from masktune.cli.report import render

        job_report = jobs.report(job_id)
        session.show(job_report, lambda: render(job_report))


@app.command()
@with_session
def predictions(
    session: Session,
    job_id: Id,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", dir_okay=False, help="File to write. Default: JOB.parquet or JOB.csv."
        ),
    ] = None,
) -> None:
    """Write the predictions of a predict job to a file, one row per sample."""
    jobs = session.client.jobs
    target = output or Path(f"{job_id}.{_output(jobs.get(job_id))}")
    jobs.predictions(job_id, target)
    session.show({"path": str(target)}, lambda: f"the predictions are in {target}")


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
    _add_review(grid, job.inputs)
    grid.add_row("queued", age(job.created_at))
    grid.add_row("started", age(job.started_at))
    grid.add_row("ended", age(job.ended_at))
    for arm, model in completion.in_order(job.models, completion.ARMS):
        grid.add_row(f"model {arm}", model or "–")
    for arm, splits in completion.in_order(job.metrics, completion.ARMS):
        grid.add_row(f"accuracy {arm}", _accuracies(splits))
    if job.error:
        grid.add_row("error", job.error.detail or job.error.title)
    return grid


def plan_table(plan: JobPlan) -> Table:
    """What a job would do, and what it may cost."""
    from masktune.contract.report.text.formats import byte_size, duration

    grid, estimate = new_table(title=f"{plan.kind} job, not started"), plan.estimate
    grid.add_row("data set", plan.dataset)
    _add_review(grid, plan.inputs)
    for name, text in _settings(plan.params):
        grid.add_row(name, text)
    for stage in estimate.stages:
        grid.add_row(STAGES.get(stage.stage, stage.stage), f"{duration(stage.seconds)}, {stage.source}")
    on_device = f" on {estimate.device}" if estimate.device else ""
    grid.add_row("time", f"about {duration(estimate.seconds)}, {estimate.source}{on_device}")
    grid.add_row("memory", f"about {byte_size(estimate.memory_bytes)}")
    grid.add_row("disk", f"about {byte_size(estimate.disk_bytes)}")
    return grid


def _add_review(grid: Table, inputs: JobInputs) -> None:
    if inputs.review is not None:
        grid.add_row("goes by the review of", inputs.review.job)


def _settings(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted name, setting) of each parameter."""
    for name, setting in params.items():
        if isinstance(setting, dict):
            yield from _settings(setting, f"{prefix}{name}.")
        else:
            yield prefix + name, json.dumps(setting) if not isinstance(setting, str) else setting


def _output(job: Job) -> str:
    """The format of the job's file of predictions."""
    from masktune import PredictJob

    return job.params.output if isinstance(job, PredictJob) else "parquet"


def _accuracies(splits: dict[str, SplitMetrics]) -> str:
    by_split = {split: figures.accuracy for split, figures in splits.items()}
    ordered = completion.in_order(by_split, completion.SPLITS)
    return ", ".join(f"{split} {figure(accuracy)}" for split, accuracy in ordered)


def parse_fields(kind: str, assignments: Iterable[str] | None) -> dict[str, Any]:
    """The fields of a job of this kind, from `--set` options."""
    text_fields = [name for name, parameter in dotted(hyperparameters_of(kind)) if parameter.type is str]
    return parse_assignments(assignments, text_fields)


def follow_to_end(session: Session, job_id: str) -> Job:
    """Wait for the job to end and return it; shows progress unless the output is JSON."""
    changes = session.client.jobs.watch(job_id)
    with watch_hint(job_id):
        return last(changes) if session.json else follow(session.console, changes)


def require_success(session: Session, job: Job) -> None:
    """Exit with 4 if the job did not succeed."""
    if job.state != "succeeded":
        why = job.error and job.error.detail
        fail(f"job {job.id} {job.state}" + (f": {why}" if why else ""), ENDED_BADLY)
    if job.kind == "predict":
        session.say(f"write the predictions to a file: masktune jobs predictions {job.id}")


def _open_page(session: Session, html: str) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False, encoding="utf-8") as page:
        page.write(html)
    if typer.launch(Path(page.name).as_uri()):
        session.say(f"no browser could be opened; the page is {page.name}")
