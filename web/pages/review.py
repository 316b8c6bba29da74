"""The images that most likely lack the pattern of their class: a person says whether they do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from nicegui import ui

from masktune import AsyncClient, Job, Sample
from masktune.contract.hyperparameters import Gate
from masktune.contract.report import Report
from masktune.contract.report.recommendation import ReviewImages
from masktune.contract.report.text import Step, next_steps
from masktune.contract.report.text.next_steps import REVIEW_ANSWERS, REVIEW_CONFIRMED, REVIEW_GUESS
from web.paging import first
from web.shell import button, html, notify_on_error, page, set_title
from web.text import labels
from web.transport.connection import api, missing_scope, own_key

ORDINARY = 8
"""Other images of a class, beside those to look at."""
LISTED = 100
"""Images of a class, the first of the training split, that these are spread over."""


class ClassReview(NamedTuple):
    """The images of one class to look at, the surest first, and others of the class to compare them with."""

    label: str
    guesses: list[Sample]
    ordinary: list[Sample]


@page("/jobs/{job_id}/review", "Look at images", "/jobs")
async def show(job_id: str) -> None:
    connection = api()
    report, job = await connection.jobs.report(job_id), await connection.jobs.get(job_id)
    set_title(f"{labels.shorten(report.dataset.name)} · Look at images")
    step, samples = review_step(report)
    html("review_title", report=report, step=step)
    if not samples:
        return
    classes = await _by_class(connection, report.dataset.id, samples)
    html("review", classes=classes, dataset=report.dataset.id, guess=REVIEW_GUESS)
    key = own_key()
    if not key.may("train"):
        html("notice", tone="", text=missing_scope(key, "train"))
        return
    went_by: Gate = "open" if report.groups is not None and report.groups.divided else "closed"
    with ui.element("div").classes("actions"):
        for gate, answer in REVIEW_ANSWERS.items():
            button(answer, partial(_answer, connection, job, gate, went_by=went_by))


def review_step(report: Report) -> tuple[Step | None, list[int]]:
    """The step in words and the samples to look at; (None, []) if the report lists none."""
    steps = report.recommendation.next if report.recommendation else []
    for step, words in zip(steps, next_steps(report), strict=True):
        if isinstance(step, ReviewImages):
            return words, step.samples
    return None, []


@notify_on_error
async def _answer(connection: AsyncClient, job: Job, gate: Gate, *, went_by: Gate) -> None:
    """Start the same job again by this gate, unless that is what it went by."""
    if gate == went_by:
        ui.notify(REVIEW_CONFIRMED, type="positive")
        return
    again = await connection.jobs.start(job.kind, **fields_with_gate(job, gate))
    ui.navigate.to(f"/jobs/{again.id}")


def fields_with_gate(job: Job, gate: Gate) -> dict[str, Any]:
    """The fields of a job like this one, with another gate."""
    fields = job.params.model_dump(mode="json", exclude_none=True)
    fields |= {"dataset": job.dataset, "head": fields["head"] | {"gate": gate}}
    return fields | ({"model": job.inputs.model} if job.inputs.model else {})


async def _by_class(connection: AsyncClient, dataset: str, samples: Sequence[int]) -> list[ClassReview]:
    """The samples by class, in the order in which the classes come up."""
    guesses: dict[str, list[Sample]] = {}
    for sample in await asyncio.gather(*(connection.datasets.sample(dataset, one) for one in samples)):
        guesses.setdefault(sample.label, []).append(sample)
    listed = await asyncio.gather(
        *(
            first(connection.datasets.samples(dataset, split="train", label=label, limit=LISTED), LISTED)
            for label in guesses
        )
    )
    return [
        ClassReview(label, of_class, spread([one for one in others if one.id not in samples]))
        for (label, of_class), others in zip(guesses.items(), listed, strict=True)
    ]


def spread(samples: Sequence[Sample]) -> list[Sample]:
    """`ORDINARY` samples, evenly spread: neighbours are often of one burst."""
    return list(samples[:: max(1, len(samples) // ORDINARY)][:ORDINARY])
