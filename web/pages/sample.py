"""One sample: its image in full size, what is known of it, and what models say of it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from nicegui import ui

from masktune import AsyncClient, ClientError, Model, Prediction, ProblemError, Sample
from web.paging import first
from web.shell import button, html, notify_on_error, page, render, set_title
from web.text import labels
from web.transport.connection import api, missing_scope, own_key
from web.transport.errors import error_text

MODELS = 6
"""Most models that are asked."""


@page("/datasets/{dataset_id}/samples/{number}", "Sample", "/")
async def show(
    dataset_id: str, number: int, among: str = "", models: str = "", inferred_by: str = ""
) -> None:
    """`among`: the numbers of the list that the sample was opened from; `models`: the models to ask, or by
    default the newest of the data set, or without labels the newest of all; both separated by commas.
    `inferred_by`: the job whose guess of the sample is shown."""
    connection, key = api(), own_key()
    dataset = await connection.datasets.get(dataset_id)
    sample = await connection.datasets.sample(dataset_id, number, inferred_by=inferred_by or None)
    set_title(f"Sample {number} · {labels.shorten(dataset.name)}")
    numbers = [one for one in among.split(",") if one.isdigit()]
    ids = list(filter(None, models.split(",")))
    html(
        "sample",
        d=dataset,
        s=sample,
        neighbours=neighbours(str(number), numbers),
        among=numbers,
        models=ids,
    )
    if not key.may("predict"):
        html("notice", tone="", text=missing_scope(key, "predict"))
        return
    holder = ui.element("div").classes("looks").props("aria-live=polite")

    async def ask() -> None:
        """Show the models, then the answer of each when it comes."""
        chosen_models = await _models(connection, dataset_id if dataset.labelled else None, ids)
        with holder:
            html("sample_models", models=chosen_models)
            with ui.element("div").classes("grid"):
                cards = [ModelCard(connection, model, dataset_id, sample) for model in chosen_models]
        for card in cards:
            await card.ask()

    ui.timer(0.1, notify_on_error(ask), once=True)


def neighbours(number: str, numbers: Sequence[str]) -> tuple[str | None, str | None]:
    """The numbers before and after this one, None at either end."""
    if number not in numbers:
        return None, None
    place = numbers.index(number)
    return (numbers[place - 1] if place else None), next(iter(numbers[place + 1 :]), None)


async def _models(connection: AsyncClient, dataset: str | None, ids: Sequence[str]) -> list[Model]:
    if not ids:
        return await first(connection.models.list(dataset=dataset, limit=MODELS), MODELS)
    models = []
    for id in ids[:MODELS]:
        with suppress(ProblemError):  # it may have been deleted
            models.append(await connection.models.get(id))
    return models


class ModelCard:
    """What a model says of the sample and, on request, where it looks in it."""

    def __init__(self, connection: AsyncClient, model: Model, dataset: str, sample: Sample) -> None:
        self._connection, self._model, self._dataset, self._sample = connection, model, dataset, sample
        with ui.element("div").classes("card"):
            self._answer, self._map = ui.html(sanitize=False), ui.html(sanitize=False)
            self._look = button("Show where it looks", self.explain, "second")
            self._write()

    async def ask(self) -> None:
        try:
            answer = await self._connection.predict.sample(
                model=self._model.id, dataset=self._dataset, sample=self._sample.id, top_k=3
            )
        except ClientError as error:
            self._write(error=error_text(error)[1])
        else:
            self._write(answer.predictions[0])

    def _write(self, prediction: Prediction | None = None, error: str = "") -> None:
        self._answer.content = render(
            "sample_answer", model=self._model, label=self._sample.label, prediction=prediction, error=error
        )

    @notify_on_error
    async def explain(self) -> None:
        answer = await self._connection.saliency.sample(
            model=self._model.id, dataset=self._dataset, sample=self._sample.id
        )
        self._map.content = render("sample_map", model=self._model, map=answer.images[0])
        self._look.set_visibility(False)
