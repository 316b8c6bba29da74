"""Try it: one image, the decision and its reasons, and where both models look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nicegui import events, ui

from masktune import Answer, AsyncClient, ClientError, Model, ProblemError, SaliencyAnswer, Sample
from web.forms.fields import percent
from web.paging import first
from web.shell import guarded, html, page, told
from web.text import labels as words
from web.transport.connection import api, dataset_names, here, lacking, own_key
from web.transport.uploads import Dropped, shelf
from web.widgets import choice

LISTED = 100
"""The newest models, offered as choices."""
PICKS = 18
"""Number of stored samples to pick from."""


@page("/try", "Try it")
async def show(
    model: str = "", sample: int | None = None, policy: str = "none", value: float | None = None
) -> None:
    connection = api()
    own = await own_key(connection)
    if not own.may("predict"):
        html("try_title")
        html("notice", tone="unsure", text=lacking(own, "predict"))
        return
    names = await _models(connection)
    if not names:
        html("nothing_to_try")
        return
    if model and model not in names:
        names[model] = model
    desk = Desk(connection, names)
    desk.build(model or next(iter(names)), policy if policy in words.POLICIES else "none", value)
    ui.on("masktune-uploaded", desk.dropped)
    await desk.chosen()
    if sample is not None:
        await desk.stored(sample)


@dataclass(frozen=True)
class Picked:
    """What the visitor picked: a stored sample or a dropped image."""

    name: str
    dataset: str | None = None
    sample: int | None = None
    image: bytes | None = None


class Desk:
    """The chosen model, policy and image, and their result."""

    def __init__(self, connection: AsyncClient, names: dict[str, str]) -> None:
        self.connection = connection
        self.names = names
        self.model: Model | None = None
        self.named = ""
        """The model as the visitor chose it: an id or an alias."""
        self.picked: Picked | None = None
        self.chose = 0
        """Counts the model choices, so that only the result of the last one is drawn."""
        self.asked = 0
        """Counts the requested answers, for the same reason."""

    def build(self, model: str, policy: str, value: float | None) -> None:
        html("try_title")
        with ui.element("div").classes("split"):
            with ui.element("div"):
                with ui.element("div").classes("card"):
                    with ui.element("div").classes("form"):
                        self.chosen_model = choice(
                            "Model", self.names, model, on_change=guarded(self.chosen), search=True
                        )
                        self.chosen_model.classes("whole")
                        self.policy = choice(
                            "When to answer", words.POLICIES, policy, on_change=guarded(self._policy)
                        )
                        self.policy.classes("whole")
                        self.value = ui.number("Percent", value=value, on_change=guarded(self.again))
                        self.value.props("outlined dense debounce=400 step=any")
                        self.sure = choice(
                            "Confidence", words.CONFIDENCES, 0.99, on_change=guarded(self.again)
                        )
                    self.value.set_visibility(policy != "none")
                    self.sure.bind_visibility_from(self.policy, "value", value="max_risk")
                    if policy != "none" and value is None:
                        self.value.value = words.POLICY_START[policy]
                html("try_drop")
                self.picks = ui.element("div")
            self.result = ui.element("div").props('aria-live=polite role=region aria-label="Result"')
        with self.result:
            html("try_waiting")

    async def chosen(self, *_: object) -> None:
        """Switch to another model: draw its samples and request a new answer."""
        self.chose += 1
        self.asked += 1  # a pending answer is from the previous model
        number, named = self.chose, str(self.chosen_model.value)
        model = await self.connection.models.get(named)
        samples, fault = await self._samples(model.dataset)
        if number != self.chose:
            return
        self.model, self.named = model, named
        self.picks.clear()
        with self.picks:
            if fault is not None:
                html("notice", tone="", text=told(fault)[1])
            elif model.dataset is not None:
                self._picks(model.dataset, samples)
        await self.again()

    async def _samples(self, dataset: str | None) -> tuple[list[Sample], ClientError | None]:
        """A few samples, spread evenly over those read from the data set, or why there are none."""
        if dataset is None:
            return [], None
        try:
            found = await first(self.connection.datasets.samples(dataset, split="test", limit=100), 100)
        except ClientError as error:
            return [], error
        return found[:: max(1, len(found) // PICKS)][:PICKS], None

    def _picks(self, dataset: str, samples: list[Sample]) -> None:
        html("try_picks")
        with ui.element("ul").classes("samples"):
            for sample in samples:
                with ui.element("li"), ui.element("button").classes("pick") as picked:
                    picked.props(f'type=button aria-label="Sample {sample.id}"')
                    picked.on("click", guarded(lambda _, number=sample.id: self.stored(number)))
                    html("try_pick", dataset=dataset, sample=sample)

    @property
    def _misfit(self) -> str:
        """The message for an invalid percentage; "" if it is valid."""
        policy, value = str(self.policy.value), self.value.value
        if policy == "none" or (
            value is not None and 0 < value <= 100 and (policy, value) != ("max_risk", 100)
        ):
            return ""
        return f"Enter a percentage above 0 and {'below' if policy == 'max_risk' else 'at most'} 100."

    async def _policy(self, *_: object) -> None:
        policy = str(self.policy.value)
        self.value.set_visibility(policy != "none")
        if policy != "none":
            self.value.value = words.POLICY_START[
                policy
            ]  # which asks again by itself, where it changes something
        await self.again()

    async def stored(self, number: int) -> None:
        assert self.model is not None
        self.picked = Picked(f"sample {number}", dataset=self.model.dataset, sample=number)
        await self.again()
        self._to_the_answer()

    async def dropped(self, event: events.GenericEventArguments) -> None:
        image: Dropped | None = shelf.take(str(event.args.get("token")))
        if image is None:
            ui.notify("That image is no longer available. Drop it again.", type="warning")
            return
        self.picked = Picked(image.name, image=image.data)
        await guarded(self.again)()
        self._to_the_answer()

    def _to_the_answer(self) -> None:
        """Scroll to the answer, which in a narrow window is below all the choices."""
        ui.run_javascript(
            f"const answer = document.getElementById('{self.result.html_id}');"
            "if (answer.getBoundingClientRect().top > innerHeight / 2) answer.scrollIntoView();"
        )

    async def again(self, *_: object) -> None:
        """Request a prediction for the current image under the current policy, and show it."""
        if self.picked is None or self.model is None:
            return
        self.asked += 1
        number, picked, model = self.asked, self.picked, self.model
        if self._misfit:
            self.value.error = self._misfit
            self._draw(number, "notice", tone="unsure", text=self._misfit)
            return
        try:
            answer = await self._predict(picked)
            looks = await self._looks(picked, model)
        except ClientError as error:
            title, detail = told(error)
            if isinstance(error, ProblemError) and error.errors:
                detail = "; ".join(words.sentence(fault.detail) for fault in error.errors)
            self._draw(number, "try_trouble", title=title, detail=detail, name=picked.name)
            return
        said, source = answer.predictions[0], _source(picked)
        self._draw(number, "answer", answer=answer, said=said, looks=looks, picked=picked, source=source)

    def _draw(self, number: int, template: str, **values: Any) -> None:
        """Draw the result, unless a later request is pending: its image would be shown with this answer."""
        if number == self.asked:
            self.result.clear()
            with self.result:
                html(template, **values)

    async def _predict(self, picked: Picked) -> Answer:
        model, policy = self.named, str(self.policy.value)
        options: dict[str, Any] = {"top_k": 5}
        if policy != "none":
            options[policy] = percent(self.value.value)
        if policy == "max_risk":
            options["risk_confidence"] = float(self.sure.value)
        predict = self.connection.predict
        if picked.image is not None:
            return await predict.images(model, [picked.image], **options)
        assert picked.dataset is not None
        assert picked.sample is not None
        return await predict.sample(model=model, dataset=picked.dataset, sample=picked.sample, **options)

    async def _looks(self, picked: Picked, model: Model) -> list[tuple[str, Any]]:
        """(name, saliency map) of the original model and of this one."""
        found = []
        for name, of in ((words.arm("erm"), model.erm), (words.arm(model.arm), model.id)):
            if of is None:
                continue
            try:
                found.append((name, (await self._explain(picked, of)).images[0]))
            except ClientError:  # the original model may have been deleted; the answer is shown without it
                continue
        return found

    async def _explain(self, picked: Picked, model: str) -> SaliencyAnswer:
        saliency = self.connection.saliency
        if picked.image is not None:
            return await saliency.images(model, [picked.image])
        assert picked.dataset is not None
        assert picked.sample is not None
        return await saliency.sample(model=model, dataset=picked.dataset, sample=picked.sample)


def _source(picked: Picked) -> str | None:
    """The URL of the stored image; a dropped image is shown only in its saliency maps."""
    if picked.sample is None:
        return None
    return here(f"/files/datasets/{picked.dataset}/samples/{picked.sample}/image")


async def _models(connection: AsyncClient) -> dict[str, str]:
    """The choices: aliases first, then the newest models."""
    found = {alias.name: f"{alias.name} (alias)" async for alias in connection.models.aliases()}
    names = await dataset_names()
    # Tuned models first: they are what most visitors want.
    listed = await first(connection.models.list(limit=LISTED), LISTED)
    for model in sorted(listed, key=lambda m: m.arm not in ("masktune", "retrained")):
        found[model.id] = words.told_of(model, names.get(model.dataset or "", ""))
    return found
