"""Try it: one image, the decision and its reasons, and where both models look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nicegui import events, ui

from masktune import Answer, AsyncClient, ClientError, Model, ProblemError, Sample
from masktune.contract.report.recommendation import UseControl, UseModel
from masktune.contract.report.text.names import capitalised
from masktune.contract.serving.predictions import CERTIFIED_POLICIES, POLICY_OF, ImageSaliency
from web.forms.fields import percent
from web.paging import first
from web.shell import html, notify_on_error, page
from web.text import labels
from web.transport.connection import api, dataset_names, missing_scope, own_key, verdict_titles
from web.transport.dropped_images import LARGEST_IMAGE, DroppedImage, dropped_images
from web.transport.errors import error_text
from web.widgets import select_field

LISTED = 100
"""The newest models, offered as choices."""
PICKS = 18
"""Number of stored samples to pick from."""


@page("/try", "Try it")
async def show(
    model: str = "", sample: int | None = None, policy: str = "none", value: float | None = None
) -> None:
    connection = api()
    key = own_key()
    if not key.may("predict"):
        html("try_title")
        html("notice", tone="unsure", text=missing_scope(key, "predict"))
        return
    names = await _models(connection)
    if not names:
        html("nothing_to_try")
        return
    if model and model not in names:
        names[model] = model
    trial = Trial(connection, names)
    largest = min((await connection.limits()).max_image_bytes, LARGEST_IMAGE)
    trial.build(model or next(iter(names)), policy if policy in labels.POLICIES else "none", value, largest)
    ui.on("masktune-uploaded", trial.use_dropped)
    await trial.change_model()
    if sample is not None:
        await trial.use_sample(sample)


@dataclass(frozen=True)
class TrialImage:
    """A stored sample that the visitor picked, or an image that they dropped."""

    name: str
    dataset: str = ""
    sample: int | None = None
    content: bytes = b""
    subject: str | None = None
    needs_png: bool = False

    @property
    def file(self) -> tuple[str, bytes]:
        return self.name, self.content


class Trial:
    """The chosen model, policy and image, and the model's answer."""

    def __init__(self, connection: AsyncClient, names: dict[str, str]) -> None:
        self.connection = connection
        self.names = names
        self.model: Model | None = None
        self.model_name = ""
        """The model as the visitor chose it: an id or an alias."""
        self.image: TrialImage | None = None
        self.model_changes = 0
        """Counts the choices of a model, so that only the last one is drawn."""
        self.requests = 0
        """Counts the requested answers, for the same reason."""

    def build(self, model: str, policy: str, percentage: float | None, largest: int) -> None:
        html("try_title")
        with ui.element("div").classes("split"):
            with ui.element("div"):
                with ui.element("div").classes("card"):
                    with ui.element("div").classes("form"):
                        model_changed = notify_on_error(self.change_model)
                        self.chosen_model = select_field(
                            "Model", self.names, model, on_change=model_changed, search=True
                        ).classes("whole")
                        policy_changed = notify_on_error(self._change_policy)
                        self.policy = select_field(
                            "When to answer", labels.POLICIES, policy, on_change=policy_changed
                        ).classes("whole")
                        changed = notify_on_error(self.answer)
                        self.percentage = ui.number("Percent", value=percentage, on_change=changed)
                        self.percentage.props("outlined dense debounce=400 step=any")
                        self.confidence = select_field(
                            "Confidence", labels.CONFIDENCES, 0.99, on_change=changed
                        )
                        self.sets = select_field(
                            "Classes that it may be", labels.SET_COVERAGES, 0, on_change=changed
                        )
                        self.subject = ui.input("Subject of the image that you drop, if known")
                        self.subject.classes("whole").props(
                            'outlined dense maxlength=200 hint="a patient, an animal, a slide: for drift, '
                            'all images of it count as one"'
                        )
                    self.percentage.set_visibility(policy != "none")
                    certified = CERTIFIED_POLICIES.__contains__
                    self.confidence.bind_visibility_from(self.policy, "value", certified)
                    if policy != "none" and percentage is None:
                        self.percentage.value = labels.POLICY_START[policy]
                html("try_drop", largest=largest)
                self.samples = ui.element("div")
            self.answer_area = ui.element("div").props('aria-live=polite role=region aria-label="Result"')
        with self.answer_area:
            html("try_waiting")

    async def change_model(self, *_: object) -> None:
        """Switch to another model: draw its samples and request a new answer."""
        self.model_changes += 1
        self.requests += 1  # a pending answer is from the previous model
        number, name = self.model_changes, str(self.chosen_model.value)
        model = await self.connection.models.get(name)
        samples: list[Sample] = []
        problem = ""
        try:
            if model.dataset is not None:
                samples = await self._test_samples(model.dataset)
        except ClientError as error:
            problem = error_text(error)[1]
        if number != self.model_changes:
            return
        self.model, self.model_name = model, name
        self.samples.clear()
        with self.samples:
            if problem:
                html("notice", tone="", text=problem)
            elif model.dataset is not None:
                self._draw_samples(model.dataset, samples)
        await self.answer()

    async def _test_samples(self, dataset: str) -> list[Sample]:
        """A few samples of the test split, spread evenly over its first hundred."""
        samples = await first(self.connection.datasets.samples(dataset, split="test", limit=100), 100)
        return samples[:: max(1, len(samples) // PICKS)][:PICKS]

    def _draw_samples(self, dataset: str, samples: list[Sample]) -> None:
        html("try_picks")
        with ui.element("ul").classes("samples"):
            for sample in samples:
                with ui.element("li"), ui.element("button").classes("pick") as pick:
                    pick.props(f'type=button aria-label="Sample {sample.id}"')
                    pick.on("click", notify_on_error(lambda _, number=sample.id: self.use_sample(number)))
                    html("try_pick", dataset=dataset, sample=sample)

    @property
    def _percentage_error(self) -> str:
        """The message for an invalid percentage; "" if it is valid."""
        policy, percentage = str(self.policy.value), self.percentage.value
        in_range = percentage is not None and 0 < percentage <= 100
        certified = policy in CERTIFIED_POLICIES
        if policy == "none" or (in_range and not (certified and percentage == 100)):
            return ""
        return f"Enter a percentage above 0 and {'below' if certified else 'at most'} 100."

    async def _change_policy(self, *_: object) -> None:
        policy = str(self.policy.value)
        self.percentage.set_visibility(policy != "none")
        if policy != "none":
            self.percentage.value = labels.POLICY_START[policy]  # requests an answer if this is a change
        await self.answer()

    async def use_sample(self, number: int) -> None:
        assert self.model is not None
        stored = await self.connection.datasets.sample(self.model.dataset or "", number)
        self.image = TrialImage(
            f"sample {number}", self.model.dataset or "", number, needs_png=stored.needs_png
        )
        await self.answer()
        self._scroll_to_answer()

    @notify_on_error
    async def use_dropped(self, event: events.GenericEventArguments) -> None:
        dropped: DroppedImage | None = dropped_images.take(str(event.args.get("token")))
        if dropped is None:
            ui.notify("That image is no longer available. Drop it again.", type="warning")
            return
        subject = (self.subject.value or "").strip() or None
        self.image = TrialImage(dropped.name, content=dropped.content, subject=subject)
        await self.answer()
        self._scroll_to_answer()

    def _scroll_to_answer(self) -> None:
        """Scroll to the answer, which in a narrow window is below all the choices."""
        ui.run_javascript(
            f"const answer = document.getElementById('{self.answer_area.html_id}');"
            "if (answer.getBoundingClientRect().top > innerHeight / 2) answer.scrollIntoView();"
        )

    async def answer(self, *_: object) -> None:
        """Request a prediction for the current image under the current policy, and show it."""
        image, model = self.image, self.model
        if image is None or model is None:
            return
        self.requests += 1
        number = self.requests
        if self._percentage_error:
            self.percentage.error = self._percentage_error
            self._draw(number, "notice", tone="unsure", text=self._percentage_error)
            return
        try:
            answer = await self._predict(image)
            maps = await self._saliency_maps(image, model)
        except ClientError as error:
            title, detail = error_text(error)
            if isinstance(error, ProblemError) and error.errors:
                detail = "; ".join(capitalised(field_error.detail) for field_error in error.errors)
            self._draw(number, "try_error", title=title, detail=detail, name=image.name)
            return
        prediction = answer.predictions[0]
        self._draw(
            number, "answer", answer=answer, prediction=prediction, maps=maps, image=image, arm=model.arm
        )

    def _draw(self, number: int, template: str, **values: Any) -> None:
        """Draw the answer, unless a later request is pending: its image would be shown with this answer."""
        if number == self.requests:
            self.answer_area.clear()
            with self.answer_area:
                html(template, **values)

    async def _predict(self, image: TrialImage) -> Answer:
        policy = str(self.policy.value)
        options: dict[str, Any] = {"top_k": 5, "set_coverage": self.sets.value or None}
        options |= {name: percent(self.percentage.value) for name, of in POLICY_OF.items() if of == policy}
        if policy in CERTIFIED_POLICIES:
            options["risk_confidence"] = float(self.confidence.value)
        predict = self.connection.predict
        if image.sample is None:
            return await predict.images(self.model_name, [image.file], subject=image.subject, **options)
        return await predict.sample(
            model=self.model_name, dataset=image.dataset, sample=image.sample, **options
        )

    async def _saliency_maps(self, image: TrialImage, model: Model) -> list[tuple[str, ImageSaliency]]:
        """(name, saliency map) of the original model and of this one."""
        maps = []
        saliency = self.connection.saliency
        for name, id in ((labels.arm("erm"), model.erm), (labels.arm(model.arm), model.id)):
            if id is None:
                continue
            try:
                if image.sample is None:
                    answer = await saliency.images(id, [image.file])
                else:
                    answer = await saliency.sample(model=id, dataset=image.dataset, sample=image.sample)
            except ClientError:  # the original model may have been deleted; the answer is shown without it
                continue
            maps.append((name, answer.images[0]))
        return maps


async def _models(connection: AsyncClient) -> dict[str, str]:
    """The choices: aliases first, then the newest models."""
    choices = {alias.name: f"{alias.name} (alias)" async for alias in connection.models.aliases()}
    names, verdicts = await dataset_names(), await verdict_titles()
    recommended = await _recommended_model(connection, next(iter(verdicts), None))
    listed = await first(connection.models.list(limit=LISTED), LISTED)
    # What the newest report recommends, then tuned models: they are what most visitors want.
    for model in sorted(listed, key=lambda m: (m.id != recommended, m.arm not in ("masktune", "retrained"))):
        choices[model.id] = labels.model_label(model, names, verdicts)
    return choices


async def _recommended_model(connection: AsyncClient, job_id: str | None) -> str | None:
    """The model to use, by the report that counts now of this job."""
    current = (await connection.jobs.get(job_id)).current if job_id else None
    steps = current.next if current else []
    return next((step.model for step in steps if isinstance(step, UseModel | UseControl)), None)
