"""Predictions of a folder, an archive or an address: a data set without labels, a job, and its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import masktune
from masktune.cli.importing import start_import, wait_for_import
from masktune.cli.output import new_table
from masktune.cli.progress import follow_to_end, require_success
from masktune.cli.session import Session, plain
from masktune.cli.tables.models import warning
from masktune.contract.report.text import coverage_statement, job_drift_statement, promise_statement
from masktune.contract.report.text.names import ABSTAIN_NAMES
from masktune.contract.upload_files import TABLES

if TYPE_CHECKING:
    from rich.console import Group

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".zst")


def is_many_images(what: str) -> bool:
    """Whether this is a folder, an archive, a table of paths or an address, and no image file."""
    path = Path(what)
    return "://" in what or path.is_dir() or path.suffix.lower() in (*_ARCHIVES, *TABLES)


def predict_folder(
    session: Session,
    what: str,
    model: str,
    fields: dict[str, Any],
    *,
    output: Path | None,
    format: Literal["csv", "parquet"] | None,
) -> None:
    """Import the images, predict each with these `fields` of a job, write its table, show what is in it. The
    job imports those at an address itself; others are uploaded before."""
    model = session.client.models.get(model).id  # before anything is uploaded
    if "://" in what:
        fields = fields | {"source": what}
    else:
        uploaded = start_import(session, what, format="unlabelled")
        fields = fields | {"dataset": wait_for_import(session, uploaded).id}
    written = format or ("parquet" if output is not None and output.suffix == ".parquet" else "csv")
    jobs = session.client.jobs
    job = jobs.predict(model, output=written, **fields)
    session.say(f"job {job.id} is queued")
    job = follow_to_end(session, job.id)
    require_success(job)
    target = output or Path(f"{job.id}.{written}")
    jobs.predictions(job.id, target)
    counts = (isinstance(job, masktune.PredictJob) and job.counts) or masktune.PredictionCounts()
    promise = session.client.models.get(model).promise
    answer = {"dataset": job.dataset, "job": job.id, "path": str(target), "counts": plain(counts)}
    session.show(
        answer | {"requested_coverage": fields.get("coverage"), "promise": promise and plain(promise)},
        lambda _: table(counts, fields.get("coverage"), promise),
    )
    session.say(f"the predictions are in {target}")


def table(
    counts: masktune.PredictionCounts, coverage: float | None, promise: masktune.Promise | None
) -> Group:
    """How many files have each decision, and each answer or reason; then the `coverage` requested and
    reached, whether the images drifted, and whether the model's promise holds."""
    from rich.console import Group

    listing = new_table("decision", "files")
    listing.add_row("answered", f"{counts.answered:,}")
    for label, count in counts.labels.items():
        listing.add_row(f"  {label}", f"{count:,}")
    listing.add_row("abstained", f"{counts.abstained:,}")
    for reason, count in counts.abstain_reasons.items():
        listing.add_row(f"  {ABSTAIN_NAMES.get(reason, reason)}", f"{count:,}")
    listing.add_row("unreadable", f"{counts.unreadable:,}")
    statements: list[tuple[str, str]] = [
        *((job_drift_statement(drift), drift.status) for drift in [counts.drift] if drift),
        *((promise_statement(one), one.status) for one in [promise] if one),
    ]
    lines = [warning(text) if status in ("drifted", "broken") else text for text, status in statements]
    return Group(listing, coverage_statement(counts, coverage), *lines)
