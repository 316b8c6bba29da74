"""Finds a job's before/after report and renders it as one self-contained page."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from app.predictions.presenter import data_uri
from app.reports import figures
from core.errors import NotFound
from core.storage.artifacts import Artifacts
from core.storage.reports import report_folder
from core.tables import JobRow
from masktune.contract.report import Report, charts, curves
from masktune.contract.report.text import (
    answers,
    formats,
    groups,
    inferred,
    judged_job_notes,
    metadata,
    names,
    next_steps,
    notes,
    other_verdicts,
    verdict,
)
from masktune.contract.report.text.answers import (
    EVIDENCE,
    SHORTCUT_QUESTION,
    TRUST_QUESTION,
    help_question,
    shortcut_meaning,
)
from masktune.contract.report.text.glossary import glossary
from masktune.contract.vocabulary import STAGE_NAMES

TEMPLATES = Path(__file__).parent.parent / "templates"
SEALED = {"Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'"}
"""The page is self-contained, so it is forbidden to load anything else."""


def page(report: Report, job: JobRow, artifacts: Artifacts) -> bytes:
    """Return the job's report as HTML: no scripts, no external requests, images inlined."""
    folder = report_folder(job, artifacts)

    def picture(name: str) -> str:
        return data_uri((folder / Path(name).name).read_bytes())

    return render(report, picture).encode()


def picture_path(job: JobRow, artifacts: Artifacts, name: str) -> Path:
    """The file of one of the report's pictures. Raises `NotReported`, `NotFound`."""
    path = report_folder(job, artifacts) / name
    if not path.is_file():
        raise NotFound(f"the report of job {job.id} has no picture {name!r}")
    return path


def render(report: Report, picture: Callable[[str], str]) -> str:
    """Render a report as the page; `picture` maps the names of its images to `data:` URIs."""
    return _template().render(report=report, picture=picture)


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "EVIDENCE": EVIDENCE,
        "SHORTCUT_QUESTION": SHORTCUT_QUESTION,
        "TRUST_QUESTION": TRUST_QUESTION,
        "answers": answers,
        "charts": charts,
        "curves": curves,
        "figures": figures,
        "formats": formats,
        "glossary": glossary,
        "groups": groups,
        "help_question": help_question,
        "judged_job_notes": judged_job_notes,
        "metadata": metadata,
        "inferred_text": inferred,
        "names": names,
        "next_steps": next_steps,
        "other_verdicts": other_verdicts,
        "notes": notes,
        "shortcut_meaning": shortcut_meaning,
        "stages": STAGE_NAMES,
        "verdict": verdict,
    }
    return environment.get_template("report.html.j2")
