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
from masktune.contract.report.text.next_steps import (
    ANSWER_KEPT,
    LABEL_CAPTIONS,
    LABEL_HINT,
    PATTERN_ANSWERS,
    PATTERN_CAPTIONS,
    PATTERN_HINT,
    START_AGAIN,
    gate_of,
)
from web.paging import first
from web.shell import button, html, notify_on_error, page, render, set_title
from web.text import labels
from web.transport.connection import api, missing_scope, own_key

ORDINARY = 8
"""Other images of a class, beside those to look at."""
DOUBTED = 50
"""Images whose label looks wrong."""
LISTED = 100
"""Images of a class, the first of the training split, that these are spread over."""


class ClassImages(NamedTuple):
    """The images of one class to look at, the surest first, and others of the class to compare them with."""

    label: str
    guesses: list[Sample]
    ordinary: list[Sample]


@page("/jobs/{job_id}/image-answers", "Look at images", "/jobs")
async def show(job_id: str) -> None:
    connection = api()
    report, job = await connection.jobs.report(job_id), await connection.jobs.get(job_id)
    set_title(f"{labels.shorten(report.dataset.name)} · Look at images")
    step, samples = images_step(report)
    html("image_answers_title", report=report, step=step)
    if not samples:
        return
    doubted = report.recommendation.doubted_samples[:DOUBTED] if report.recommendation else []
    classes = await _by_class(connection, report, [*samples, *doubted])
    key = own_key()
    answers = _Answers(connection, job, samples, gate_of(report))
    before = report.image_answers
    if before is not None:
        kept = await connection.jobs.image_answers(job_id)
        is_open = kept.gate == "open"
        answers.exceptions |= {one.sample for one in kept.answers if one.lacks_pattern is not is_open}
        answers.right_labels |= set(kept.label_right)
    if key.may("train"):
        html("notice", tone="", text=f"{PATTERN_HINT} {LABEL_HINT}" if doubted else PATTERN_HINT)
    for one in classes:
        with ui.element("section").classes("card") as card:
            card.props["aria-label"] = one.label
            html("image_answers_class", label=one.label)
            with ui.element("ul").classes("samples"):
                for sample in one.guesses:
                    answers.draw(sample, report.dataset.id, may_answer=key.may("train"))
            html("image_answers_others", samples=one.ordinary, dataset=report.dataset.id)
    if not key.may("train"):
        html("notice", tone="", text=missing_scope(key, "train"))
        return
    with ui.element("div").classes("actions"):
        for gate, answer in PATTERN_ANSWERS.items():
            button(answer, partial(answers.keep, gate))
        answers.again = button(START_AGAIN, answers.start_again, "second")
        answers.again.set_visibility(before is not None and answers.differ(before.gate))


def images_step(report: Report) -> tuple[Step | None, list[int]]:
    """The step in words and the samples to look at; (None, []) if the report lists none."""
    steps = report.recommendation.next if report.recommendation else []
    for step, words in zip(steps, next_steps(report), strict=True):
        if isinstance(step, ReviewImages):
            return words, step.samples
    return None, []


class _Answers:
    """What the visitor says: one answer for all images, and the images that are `exceptions` to it; and the
    doubted labels that are right.

    `went_by`: the gate of the job.
    """

    again: ui.button

    def __init__(self, connection: AsyncClient, job: Job, samples: Sequence[int], went_by: Gate) -> None:
        self._connection, self._job, self._samples, self._went_by = connection, job, samples, went_by
        self.exceptions, self.right_labels = set[int](), set[int]()

    def draw(self, sample: Sample, dataset: str, *, may_answer: bool) -> None:
        """Show an image to look at, as a button if the visitor may answer."""
        with ui.element("li") as item, ui.element("button" if may_answer else "div") as pick:
            pick.classes("pick")
            picture = html("image_answers_pick", dataset=dataset, sample=sample, caption="")
        with item:
            html("image_answers_open", dataset=dataset, sample=sample, among=self._samples)

        pressed_samples, captions = (
            (self.exceptions, PATTERN_CAPTIONS)
            if sample.id in self._samples
            else (self.right_labels, LABEL_CAPTIONS)
        )

        def show() -> None:
            pressed = sample.id in pressed_samples
            caption = captions[pressed]
            picture.content = render("image_answers_pick", dataset=dataset, sample=sample, caption=caption)
            item.classes(add="abstained" if pressed else "", remove="" if pressed else "abstained")
            if may_answer:
                pick.props(f"type=button aria-pressed={str(pressed).lower()}")

        def toggle() -> None:
            pressed_samples.symmetric_difference_update({sample.id})
            show()

        show()
        if may_answer:
            pick.on("click", toggle)

    def differ(self, gate: Gate) -> bool:
        """Whether a job that goes by these answers can differ from this one."""
        return gate != self._went_by or bool(self.exceptions or self.right_labels)

    @notify_on_error
    async def keep(self, gate: Gate) -> None:
        """Keep the answer, and offer to start the job again if that can make a difference."""
        answers = {one: (gate == "open") != (one in self.exceptions) for one in self._samples}
        await self._connection.jobs.set_image_answers(self._job.id, answers, label_right=self.right_labels)
        self.again.set_visibility(self.differ(gate))
        ui.notify(ANSWER_KEPT, type="positive")

    @notify_on_error
    async def start_again(self) -> None:
        """Start the same job, which goes by what was kept."""
        again = await self._connection.jobs.start(self._job.kind, **fields_without_gate(self._job))
        ui.navigate.to(f"/jobs/{again.id}")


def fields_without_gate(job: Job) -> dict[str, Any]:
    """The fields of a job like this one whose gate is decided by the newest answers."""
    fields = job.params.model_dump(mode="json", exclude_none=True)
    head = {name: setting for name, setting in fields["head"].items() if name != "gate"}
    fields |= {"dataset": job.dataset, "head": head}
    return fields | ({"model": job.inputs.model} if job.inputs.model else {})


async def _by_class(connection: AsyncClient, report: Report, samples: Sequence[int]) -> list[ClassImages]:
    """The samples by class, in the order in which the classes come up; with the pattern that each shows, if
    the job has inferred it."""
    guesses: dict[str, list[Sample]] = {}
    dataset, job = report.dataset.id, report.job if report.inferred_groups else None
    sample_of = partial(connection.datasets.sample, dataset, inferred_by=job)
    for sample in await asyncio.gather(*map(sample_of, samples)):
        guesses.setdefault(str(sample.label), []).append(sample)
    listed = await asyncio.gather(
        *(
            first(connection.datasets.samples(dataset, split="train", label=label, limit=LISTED), LISTED)
            for label in guesses
        )
    )
    return [
        ClassImages(label, of_class, spread([one for one in others if one.id not in samples]))
        for (label, of_class), others in zip(guesses.items(), listed, strict=True)
    ]


def spread(samples: Sequence[Sample]) -> list[Sample]:
    """`ORDINARY` samples, evenly spread: neighbours are often of one burst."""
    return list(samples[:: max(1, len(samples) // ORDINARY)][:ORDINARY])
