"""The before/after report of a job, as its last stage has stored it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import NotReported
from core.storage.artifacts import Artifacts
from masktune.contract.report import Report
from masktune.contract.vocabulary import STAGES, Stage

if TYPE_CHECKING:  # a job's process, which needs a name from here, does without SQLAlchemy: half a second
    from core.tables import JobRow

REPORT = "report.json"


def read_report(job: JobRow, artifacts: Artifacts) -> Report:
    """Return the report, or raise `NotReported` with the reason."""
    return Report.model_validate_json((report_folder(job, artifacts) / REPORT).read_bytes())


def report_folder(job: JobRow, artifacts: Artifacts) -> Path:
    """Return the folder with the report and its pictures, or raise `NotReported` with the reason."""
    done = job.done.get(Stage.EVALUATE)
    if done is not None:
        return artifacts.folder(done["artifact"])
    if Stage.EVALUATE not in STAGES.get(job.kind, ()):
        raise NotReported(
            f"a job of kind {job.kind.value} has no report; only jobs that train or evaluate have one"
        )
    hint = "its last stage writes it" if not job.state.ended else "resume the job, or start another"
    raise NotReported(f"job {job.id} is {job.state.value} and has no report: {hint}")
