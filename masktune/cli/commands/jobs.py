"""`masktune jobs …`"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import masktune
from masktune.cli import completion, options
from masktune.cli.options import (
    Fields,
    ListedMetadata,
    ListedName,
    Metadata,
    Most,
    NewMetadata,
    NewName,
    Yes,
    changes_of,
    filters_of,
    metadata_of,
    parse_fields,
)
from masktune.cli.output import REFUSED, USAGE, age, fail
from masktune.cli.progress import follow_to_end, require_success, watch_hint
from masktune.cli.session import Session, plain, with_session
from masktune.cli.tables.jobs import comparison, judgement_text, plan_table, table, verdict
from masktune.contract.report.text.formats import byte_size

app = typer.Typer(no_args_is_help=True, help="Start jobs, follow them, and read their reports.")

Id = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Id (job_…) or unique name of the job.",
        show_default=False,
        autocompletion=completion.jobs,
    ),
]

Kind = Annotated[
    str,
    typer.Argument(
        help=f"{', '.join(completion.KINDS[:-1])} or {completion.KINDS[-1]}.",
        show_default=False,
        autocompletion=completion.words(*completion.KINDS),
    ),
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Follow the job to its end; exit code 4 unless it succeeds.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only show the resolved fields and what the job may cost.")
]
StartFrom = Annotated[
    str | None,
    typer.Option(
        help="Id, alias or unique name of the model to start from.", autocompletion=completion.models
    ),
]


@app.command()
@with_session
def start(
    session: Session,
    kind: Kind,
    dataset: Annotated[
        str | None,
        typer.Option(help="Id or unique name of the data set.", autocompletion=completion.datasets),
    ] = None,
    model: StartFrom = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Name of a preset; single fields override it.", autocompletion=completion.presets),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the job.")] = None,
    metadata: Metadata = None,
    priority: Annotated[
        int | None, typer.Option(min=-100, max=100, help="Jobs of a higher priority start first [0].")
    ] = None,
    set: Fields = None,  # the option's name
    watch: Watch = False,
    dry_run: DryRun = False,
) -> None:
    """Queue a job. Every field has a default that suits the data set."""
    if kind not in completion.KINDS:
        fail(f"there is no job of kind {kind!r}; use one of {', '.join(completion.KINDS)}", USAGE)
    fields = parse_fields(
        kind,
        set,
        dataset=dataset,
        model=model,
        preset=preset,
        name=name,
        metadata=metadata_of(metadata) or None,
        priority=priority,
    )
    _start(session, kind, fields, watch=watch, dry_run=dry_run)


@app.command()
@with_session
def again(
    session: Session, job_id: Id, set: Fields = None, watch: Watch = False, dry_run: DryRun = False
) -> None:
    """Queue a job with the fields that an earlier one was given, and other values of those that you set."""
    job = session.client.jobs.get(job_id)
    if not job.request:
        fail(f"job {job_id} was not started by a request for a job; use `masktune jobs start`", REFUSED)
    _start(session, job.kind, parse_fields(job.kind, set, job.request), watch=watch, dry_run=dry_run)


def _start(session: Session, kind: str, fields: dict[str, Any], *, watch: bool, dry_run: bool) -> None:
    if dry_run:
        session.show(session.client.jobs.plan(kind, **fields), plan_table)
        return
    job = session.client.jobs.start(kind, **fields)
    if watch:
        session.say(f"job {job.id} is queued")
        job = follow_to_end(session, job.id)
    session.show(job, table)
    if watch:
        _conclude(session, job)


def _conclude(session: Session, job: masktune.Job) -> None:
    """Require that the job succeeded, and say how to get what it wrote."""
    require_success(job)
    if job.kind == "predict":
        session.say(f"write the predictions to a file: masktune jobs predictions {job.id}")


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
    search: options.Search = None,
    after: options.After = None,
    before: options.Before = None,
    most: Most = 20,
) -> None:
    """List jobs, newest first."""
    jobs = session.client.jobs.list(
        kind=kind,
        state=state,
        dataset=dataset,
        limit=min(most, 100),
        **filters_of(name, metadata, search, after, before),
    )
    session.show_all(
        jobs,
        ("id", "name", "kind", "data set", "state", "done", "verdict", "size", "queued"),
        lambda j: (
            j.id,
            j.name or "–",
            j.kind,
            session.dataset_names.get(j.dataset, j.dataset) or "–",
            j.state,
            f"{j.progress.fraction:.0%}",
            verdict(j),
            byte_size(j.occupies),
            age(j.created_at),
        ),
        most=most,
    )


@app.command()
@with_session
def show(session: Session, job_id: Id) -> None:
    """Show one job."""
    session.show(session.client.jobs.get(job_id), table)


@app.command()
@with_session
def compare(
    session: Session,
    job_ids: Annotated[
        list[str],
        typer.Argument(
            metavar="JOB...",
            help="Ids or unique names of jobs.",
            show_default=False,
            autocompletion=completion.jobs,
        ),
    ],
) -> None:
    """Show the models of several jobs side by side, and the fields in which the jobs differ."""
    session.show(session.client.jobs.compare(*job_ids), comparison, whole=True)


@app.command()
@with_session
def edit(session: Session, job_id: Id, name: NewName = None, metadata: NewMetadata = None) -> None:
    """Change the name and the metadata of a job."""
    session.show(session.client.jobs.update(job_id, **changes_of(name, metadata)), table)


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
    _conclude(session, job)


@app.command()
@with_session
def cancel(session: Session, job_id: Id) -> None:
    """Cancel a job. What it has trained so far is kept, and `resume` continues from there."""
    session.show(session.client.jobs.cancel(job_id), table)


@app.command()
@with_session
def resume(session: Session, job_id: Id) -> None:
    """Resume a failed or cancelled job from its last checkpoint."""
    session.show(session.client.jobs.resume(job_id), table)


@app.command()
@with_session
def delete(
    session: Session,
    job_id: Id,
    keep_dataset: Annotated[
        bool,
        typer.Option(
            "--keep-dataset", help="Keep the unlabelled data set, which goes with the last predict job on it."
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete a job that has ended, with its report and its predictions. Its models stay."""
    delete = partial(session.client.jobs.delete, keep_dataset=keep_dataset)
    session.ask_and_delete("job", job_id, delete, yes=yes, keep_dataset=keep_dataset)


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

        session.show(jobs.report(job_id), render)
        job = jobs.get(job_id)
        if job.current is not None and job.current.job != job.id:
            session.say(f"Other images say more than this report. {judgement_text(job.current)}")


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
    session.show({"path": str(target)}, lambda _: f"the predictions are in {target}")


def _output(job: masktune.Job) -> str:
    """The format of the job's file of predictions."""
    return job.params.output if isinstance(job, masktune.PredictJob) else "parquet"


def _open_page(session: Session, html: str) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False, encoding="utf-8") as page:
        page.write(html)
    if typer.launch(Path(page.name).as_uri()):
        session.say(f"no browser could be opened; the page is {page.name}")
