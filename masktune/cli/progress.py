"""Progress for people: a bar on a terminal, occasional plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from masktune.cli.characters import escape_controls
from masktune.cli.output import ENDED_BADLY, INTERRUPTED, fail

if TYPE_CHECKING:
    from rich.console import Console

    from masktune import Job
    from masktune.cli.session import Session

EVERY = 5.0
"""Seconds between two plain lines of the same stage."""


@contextmanager
def transfer_bar(console: Console, label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar for an upload or download. Yields a callable for (bytes done, total bytes)."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    described = TextColumn("{task.description}", markup=False)
    columns = (described, BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(escape_controls(label), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def follow(console: Console, changes: Iterable[Job]) -> Job:
    """Show the job's progress until `changes` ends; return the last state."""
    return _with_bar(console, changes) if console.is_terminal else _with_lines(console, changes)


@contextmanager
def watch_hint(job: str) -> Iterator[None]:
    """Let Ctrl-C stop only the watching, and say so: users could think that it had stopped the job."""
    try:
        yield
    except KeyboardInterrupt:
        again, end = f"`masktune jobs watch {job}` follows it", f"`masktune jobs cancel {job}` ends it"
        fail(f"job {job} keeps running: {again}, {end}", INTERRUPTED)


def follow_to_end(session: Session, job_id: str) -> Job:
    """Wait for the job to end and return it; shows progress unless the output is JSON."""
    changes = session.client.jobs.watch(job_id)
    with watch_hint(job_id):
        return deque(changes, maxlen=1).pop() if session.json else follow(session.console, changes)


def require_success(job: Job) -> None:
    """Exit with 4 if the job did not succeed."""
    if job.state != "succeeded":
        why = job.error and job.error.detail
        fail(f"job {job.id} {job.state}" + (f": {why}" if why else ""), ENDED_BADLY)


def follow_to_conclusion(session: Session, job: Job) -> None:
    """Wait for the job, which must succeed, and show what its report concludes."""
    session.say(f"job {job.id} is queued")
    require_success(follow_to_end(session, job.id))
    from rich.console import Group

    from masktune.cli.report import conclusions

    report = session.client.jobs.report(job.id)
    session.show(report, lambda report: Group(*conclusions(report)))
    session.say(f"the whole report: masktune jobs report {job.id} --open")


def _with_bar(console: Console, changes: Iterable[Job]) -> Job:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description:<34}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("waiting for a worker", total=1.0, note="")
        for job in changes:
            bar.update(task, completed=job.progress.fraction, description=describe(job), note=_note(job))
            if job.state == "succeeded":
                bar.update(task, completed=1.0)
    return job


def _with_lines(console: Console, changes: Iterable[Job]) -> Job:
    printed, at = "", 0.0
    for job in changes:
        what, now = describe(job), time.monotonic()
        if what != printed or now - at >= EVERY:
            console.print(f"{job.progress.fraction:4.0%}  {what}  {_note(job)}".rstrip())
            printed, at = what, now
    return job


def describe(job: Job) -> str:
    """Describe what the job is doing now."""
    if job.state != "running":
        return f"waiting for {job.waiting_for or 'a worker'}" if job.state == "queued" else job.state
    if job.stage is None:
        return "starting"
    if job.stage == "erm":
        return "plain training (ERM)"
    from masktune.contract.vocabulary import STAGE_NAMES

    return STAGE_NAMES.get(job.stage, job.stage)


def _note(job: Job) -> str:
    from masktune.contract.report.text.formats import duration

    progress = job.progress
    left = progress.eta_seconds if job.state == "running" else None
    parts = [] if left is None else [f"{duration(left)} left"]
    epochs = progress.epochs or 0
    if epochs > 1 and job.state == "running":  # `epoch` counts those that are finished
        parts.append(f"epoch {min((progress.epoch or 0) + 1, epochs)} of {epochs}")
    if progress.images_per_second:
        parts.append(f"{progress.images_per_second:,.0f} images/s")
    return ", ".join(parts)
