"""Try it: one image, the decision with its reasons, and where both models look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nicegui import events, ui

from client import Answer, AsyncClient, ClientError, Model, ProblemError, SaliencyAnswer, Sample
from web import words
from web.connection import api, dataset_names, here
from web.job_fields import percent
from web.paging import first
from web.shell import guarded, html, page, told
from web.uploads import Dropped, shelf
from web.widgets import choice

LISTED = 100
"""Models to choose from, the newest."""
PICKS = 18
"""Stored samples to pick from."""


@page("/try", "Try it")
async def show(
    model: str = "", sample: int | None = None, policy: str = "none", value: float | None = None
) -> None:
    connection = api()
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
    """What is looked at: a stored sample, or an image that was dropped."""

    name: str
    dataset: str | None = None
    sample: int | None = None
    image: bytes | None = None


class Desk:
    """The model, the policy, the image, and what comes of them."""

    def __init__(self, connection: AsyncClient, names: dict[str, str]) -> None:
        self.connection = connection
        self.names = names
        self.model: Model | None = None
        self.named = ""
        """As it was asked for: its id or an alias."""
        self.picked: Picked | None = None
        self.chose = 0
        """How often a model was chosen: only what was found for the last one is drawn."""
        self.asked = 0
        """How often an answer was asked for, likewise."""

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
        """Another model: other samples to pick from, another answer."""
        self.chose += 1
        self.asked += 1  # what is on its way is the answer of the model before
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
        """Some of a data set, over all that is read of it, or why there are none."""
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
        """What the percentage must be, where it is not."""
        policy, value = str(self.policy.value), self.value.value
        if policy == "none" or (
            value is not None and 0 < value <= 100 and (policy, value) != ("max_risk", 100)
        ):
            return ""
        return f"Give a percentage above 0 and {'below' if policy == 'max_risk' else 'of at most'} 100."

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
            ui.notify("That image is gone; drop it again.", type="warning")
            return
        self.picked = Picked(image.name, image=image.data)
        await guarded(self.again)()
        self._to_the_answer()

    def _to_the_answer(self) -> None:
        """In a narrow window it stands below all that one may pick from."""
        ui.run_javascript(
            f"const answer = document.getElementById('{self.result.html_id}');"
            "if (answer.getBoundingClientRect().top > innerHeight / 2) answer.scrollIntoView();"
        )

    async def again(self, *_: object) -> None:
        """Ask for the present image under the present policy, and show it."""
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
        """Unless a later question is on its way: its image would get the answer to this one."""
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
        """Where the model, and the one before it, look: (name, map)."""
        found = []
        for name, of in ((words.arm("erm"), model.erm), (words.arm(model.arm), model.id)):
            if of is None:
                continue
            try:
                found.append((name, (await self._explain(picked, of)).images[0]))
            except ClientError:  # the model before may have been deleted; the answer stands without it
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
    """Where the stored image is; a dropped one is in its maps alone."""
    if picked.sample is None:
        return None
    return here(f"/files/datasets/{picked.dataset}/samples/{picked.sample}/image")


async def _models(connection: AsyncClient) -> dict[str, str]:
    """What may be tried: the aliases first, then the newest models."""
    found = {alias.name: f"{alias.name} (alias)" async for alias in connection.models.aliases()}
    names = await dataset_names()
    # The tuned ones first: of each job they are what one came for.
    listed = await first(connection.models.list(limit=LISTED), LISTED)
    for model in sorted(listed, key=lambda m: m.arm not in ("masktune", "retrained")):
        found[model.id] = words.told_of(model, names.get(model.dataset or "", ""))
    return found
