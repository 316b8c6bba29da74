"""What a person said of the images that reports list, for the next job on the data set."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from sqlalchemy.orm import Session

from app.jobs.hyperparameters import sets_gate
from core.queries import image_answers
from core.tables import ImageAnswersRow
from masktune.contract.hyperparameters import MitigateConfig, RetrainConfig
from masktune.contract.image_answers import ImageAnswer, ImageAnswers
from masktune.contract.job_requests import MitigateRequest, RetrainHeadRequest

Config = TypeVar("Config", MitigateConfig, RetrainConfig)


def describe(row: ImageAnswersRow) -> ImageAnswers:
    """Convert the row to the shape of the API."""
    answers = sorted((int(sample), lacks) for sample, lacks in row.answers.items() if lacks is not None)
    lacking = sum(lacks for _, lacks in answers)
    return ImageAnswers(
        job=row.job_id,
        created_by=row.created_by,
        created_by_name=row.created_by_name,
        updated_at=row.updated_at,
        gate="open" if 2 * lacking > len(answers) else "closed",
        lacking=lacking,
        needed=row.needed,
        answers=[ImageAnswer(sample=sample, lacks_pattern=lacks) for sample, lacks in answers],
        label_right=sorted(int(sample) for sample, lacks in row.answers.items() if lacks is None),
    )


def apply_newest(
    session: Session, dataset_id: str, params: Config, request: MitigateRequest | RetrainHeadRequest
) -> tuple[Config, ImageAnswers | None]:
    """Set the gate by the newest answers about images of the data set, and return these.

    Nothing changes if there is none, if the request names a gate, or if it rules out groups of early stages.
    """
    if params.groups not in ("auto", "early_stages") or sets_gate(request):
        return params, None
    row = image_answers.newest(session, dataset_id)
    if row is None:
        return params, None
    answers = describe(row)
    return replace(params, head=replace(params.head, gate=answers.gate)), answers
