"""The review queues: one image after another, and what the visitor says of it by keys or buttons."""

from __future__ import annotations

from functools import partial

from nicegui import events, ui

from masktune import AsyncClient, ClientError, ImageSaliency, Model, ProblemError, ReviewItem
from web.paging import first
from web.shell import button, confirm, html, notify_on_error, page, promise_notice
from web.text import labels
from web.transport.connection import api, dataset_names, missing_scope, own_key, verdict_titles
from web.widgets import select_field

LISTED = 100
"""The newest models, offered as choices."""
KEYED = 9
"""Classes that a digit answers with."""
OTHER_KEYS = {"0": "none_of_the_classes", "n": "none_of_the_classes", "s": "skip"}
"""Key → what it says of the image; `u` undoes the last answer."""


@page("/reviews", "Reviews")
async def show(model: str = "") -> None:
    key = own_key()
    html("reviews_title")
    if not key.may("review"):
        html("notice", tone="unsure", text=missing_scope(key, "review"))
        return
    connection = api()
    names, verdicts = await dataset_names(), await verdict_titles()
    listed = {one.id: one for one in await first(connection.models.list(limit=LISTED), LISTED)}
    if model and model not in listed:
        listed[model] = await connection.models.get(model)
    choices = {id: labels.model_label(one, names, verdicts) for id, one in listed.items()}
    current = CurrentReview(connection, model)
    select_field(
        "Model",
        {"": "All models"} | choices,
        model,
        on_change=lambda change: ui.navigate.to(f"/reviews?model={change.value}"),
        search=True,
    )
    if model:
        _describe(connection, listed[model])
    current.build()
    await current.advance()


def _describe(connection: AsyncClient, model: Model) -> None:
    """Show whether the model's promise holds, and offer a data set of its answered abstained images."""
    promise_notice(model)

    @notify_on_error
    async def make_dataset() -> None:
        question = "Make a data set of the model's and its abstained images that have a label?"
        if await confirm(question, "Make it"):
            dataset = await connection.reviews.make_dataset(model.id, "With reviewed images")
            ui.navigate.to(f"/datasets/{dataset.id}")

    if own_key().may("train"):
        button("Make a data set for training", make_dataset, "second")


class CurrentReview:
    """The image that the visitor was handed, and the answers that it may get."""

    def __init__(self, connection: AsyncClient, model: str) -> None:
        self._connection, self._model = connection, model
        self._models: dict[str, Model] = {}
        self._review: ReviewItem | None = None
        """None until the image is drawn: a second key must not answer the next one unseen."""
        self._last: str | None = None
        """Id of the review that was answered last, for undo."""

    def build(self) -> None:
        keyboard = ui.keyboard(self._pressed, repeating=False, ignore=["input", "select", "textarea"])
        ui.switch("Answer by keys", value=True).bind_value_to(keyboard, "active")
        self._card = ui.element("div").props('aria-live=polite role=region aria-label="Image"')
        self._choices = ui.element("div").classes("actions")

    async def advance(self, review: ReviewItem | None = None) -> None:
        """Show this review, or the next one that waits."""
        self._review = None
        review = review or await self._connection.reviews.next(model=self._model or None)
        self._card.clear()
        self._choices.clear()
        if review is None:
            with self._card:
                html("reviews_done")
        else:
            await self._draw(review)
        if self._last is not None:
            with self._choices:
                button("Undo (u)", self.undo, "second")
        self._review = review

    async def _draw(self, review: ReviewItem) -> None:
        model = self._models.get(review.model) or await self._connection.models.get(review.model)
        self._models[model.id] = model
        maps = await self._maps(review, model)
        with self._card:
            html("reviews_image", review=review, model=model, maps=maps)
        with self._choices:
            for number, label in enumerate(model.classes[:KEYED], start=1):
                button(f"{label} ({number})", partial(self.say, "label", label))
            if rest := model.classes[KEYED:]:
                choose = notify_on_error(lambda change: self.say("label", change.value))
                select_field("Another class", rest, None, on_change=choose, search=True)
            button("None of the classes (0)", partial(self.say, "none_of_the_classes"), "second")
            button("Skip (s)", partial(self.say, "skip"), "second")

    async def _maps(self, review: ReviewItem, model: Model) -> list[tuple[str, ImageSaliency]]:
        """The model's map of the image; none while its answer is hidden, if the visitor may not predict, or
        the image is gone."""
        if review.prediction is None:
            return []
        try:
            content = await self._connection.reviews.image(review.id)
            answer = await self._connection.saliency.images(review.model, [content])
        except ClientError:
            return []
        return [(labels.arm(model.arm), answer.images[0])]

    @notify_on_error
    async def say(self, outcome: str, label: str | None = None) -> None:
        """Send the answer, and go on. If somebody else was faster, say so and go on too."""
        review, self._review = self._review, None
        if review is None:
            return
        try:
            await self._connection.reviews.answer(review.id, outcome, label)
            self._last = review.id
        except ClientError as error:
            if not (isinstance(error, ProblemError) and error.status == 409):
                self._review = review
                raise
            ui.notify(error.detail, type="warning")
        await self.advance()

    @notify_on_error
    async def undo(self) -> None:
        """Take back the last answer, and show its image again."""
        if self._last is not None:
            last, self._last = self._last, None
            await self.advance(await self._connection.reviews.undo(last))

    async def _pressed(self, event: events.KeyEventArguments) -> None:
        held = event.modifiers
        if not event.action.keydown or held.ctrl or held.alt or held.meta:
            return
        name = event.key.name.lower()
        if name == "u":
            await self.undo()
        elif name in OTHER_KEYS:
            await self.say(OTHER_KEYS[name])
        elif self._review is not None and name.isdecimal():
            labels_by_key = self._models[self._review.model].classes[:KEYED]
            if int(name) <= len(labels_by_key):
                await self.say("label", labels_by_key[int(name) - 1])
