"""One model: how often it is wrong, when it would abstain, its aliases, its files."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from masktune import AsyncClient, ClientError, Model, OwnKey, ProblemError, RiskCoverage, Sample
from masktune.contract.report.charts import svg
from masktune.contract.report.curves import reject_chart
from masktune.contract.report.text import drift_warning, formats
from web.aliases import AliasPanel
from web.paging import first
from web.shell import (
    ask_and_delete,
    button,
    confirm,
    html,
    notify_on_error,
    page,
    promise_notice,
    rename,
    render,
    set_title,
)
from web.text import labels
from web.text.selection import (
    CURVE_POINTS,
    ScoredSample,
    abstentions,
    point_at,
    point_of,
    statement,
)
from web.transport.connection import api, dataset_name, own_key
from web.widgets import Slider, select_field

SAMPLES = 24
"""Stored samples that are scored, to show which of them would be answered."""
CONCURRENT = 6
DEBOUNCE_SECONDS = 0.15
"""Seconds after the last move of a slider before the page asks the service."""


@page("/models/{model_id}", "Model", "/models")
async def show(model_id: str) -> None:
    connection = api()
    model, key = await connection.models.get(model_id), own_key()
    with ui.element("div").classes("title-row"):
        name = await dataset_name(connection, model.dataset)
        set_title(" · ".join(filter(None, (labels.arm(model.arm), labels.shorten(name), "Model"))))
        html("model_title", m=model, dataset=name)
        with ui.element("div").classes("actions"):
            if key.may("predict"):
                button("Try it", lambda: ui.navigate.to(f"/try?model={model.id}"))
            if key.may("train"):
                kind, text = ("predict", "Predict a split") if model.calibration else ("evaluate", "Evaluate")
                button(text, lambda: ui.navigate.to(f"/new?kind={kind}&model={model.id}"), "second")
                button("Rename", lambda: rename(model, connection.models.update), "second")
            if key.may("admin"):
                delete = connection.models.delete
                button("Delete", lambda: ask_and_delete(model.id, "", delete, "/models"), "danger")
    _drift_warning(connection, model, key)
    judge = model.pattern_judge
    if judge is None and model.erm is not None:  # the pair goes by that of its ERM model
        judge = (await connection.models.get(model.erm)).pattern_judge
    html("model_figures", m=model, judge=judge)
    promise_notice(model)
    if model.calibration:
        try:
            curve = await connection.models.risk_coverage(model.id, points=CURVE_POINTS)
        except ProblemError as error:
            html("notice", tone="unsure", text=error.detail)
        else:
            view = RejectOption(connection, model, curve, key)
            view.build()
            ui.timer(0.1, view.fill, once=True)
    else:
        html(
            "notice",
            tone="unsure",
            text="This model is not calibrated, so it answers every input. "
            "A job that trains or evaluates it on a data set with a calibration split calibrates it.",
        )
    await _drift(connection, model)
    await AliasPanel(connection, model, key).build()
    html("model_files", m=model)


class RejectOption:
    """The curve with its slider, the groups at the chosen threshold, and samples it would abstain on."""

    def __init__(self, connection: AsyncClient, model: Model, curve: RiskCoverage, key: OwnKey) -> None:
        self.connection, self.model, self.curve, self.key = connection, model, curve, key
        self.requests = 0
        """Counts the requested tables, so that only the last one is drawn."""
        self.samples: list[ScoredSample] = []
        self.threshold: float | None = None

    def build(self) -> None:
        html("reject_title", n=self.curve.n, calibration=self.curve.calibration)
        with ui.element("div").classes("split"):
            with ui.element("div").classes("card"):
                self.chart = ui.html(sanitize=False)
            with ui.element("div").classes("card"):
                self.policy = select_field(
                    "Choose by",
                    {
                        "coverage": "coverage: share of inputs answered",
                        "max_risk": "risk: share of answers that may be wrong",
                    },
                    "coverage",
                    on_change=self._change_policy,
                )
                self.caption = ui.label().classes("caption").style("margin: 16px 0 0; font-weight: 600")
                self.coverage = Slider(
                    "Coverage in percent", low=1, high=100, step=1, start=90, on_move=self._moved
                )
                self.risk = Slider(
                    "Risk in percent", low=0.5, high=30, step=0.5, start=5, on_move=self._moved
                )
                self.risk.set_visibility(False)
                self.confidence = select_field("Confidence", labels.CONFIDENCES, 0.99, on_change=self._moved)
                self.confidence.set_visibility(False)
                self.facts = ui.html(sanitize=False).props("aria-live=polite")
        self.sample_strip = ui.html(sanitize=False)
        self.groups = ui.html(sanitize=False)
        self.debounce = ui.timer(DEBOUNCE_SECONDS, self._settled, active=False, once=False)

    async def fill(self) -> None:
        """Fetch what needs further requests once the page is shown."""
        await notify_on_error(self._request_table)()
        if self.key.may("predict"):
            await notify_on_error(self._score_samples)()

    def _change_policy(self, *_: object) -> None:
        risk = self.policy.value == "max_risk"
        self.confidence.set_visibility(risk)
        self.risk.set_visibility(risk)
        self.coverage.set_visibility(not risk)
        self._moved()

    @property
    def _share(self) -> float:
        return (self.coverage if self.policy.value == "coverage" else self.risk).position / 100

    def _moved(self, *_: object) -> None:
        """Show at once what the curve already tells; request the rest when the slider comes to rest."""
        share = self._share
        if self.policy.value == "coverage":
            point = point_at(self.curve.points, share)
            self.caption.text = f"Answer {formats.percent(share, 0)} of the inputs"
            self.chart.content = svg(reject_chart(self.curve, point))
        else:
            self.caption.text = f"At most {formats.percent(share)} of the answers may be wrong"
        self.debounce.activate()

    async def _settled(self) -> None:
        self.debounce.deactivate()
        await notify_on_error(self._request_table)()

    async def _request_table(self) -> None:
        """Request and show the table at this threshold, including the certificate."""
        self.requests += 1
        number, share, by_class = self.requests, self._share, ""
        policy: dict[str, Any] = {"coverage": share}
        if self.policy.value == "coverage":
            self.caption.text = f"Answer {formats.percent(share, 0)} of the inputs"
        else:
            policy = {"max_risk": share, "risk_confidence": float(self.confidence.value)}
            by_class = await self._promises(share)
        curve = await self.connection.models.risk_coverage(self.model.id, points=CURVE_POINTS, **policy)
        if number != self.requests:
            return  # superseded by a later request
        table = curve.table
        self.threshold = table.threshold
        point = point_of(curve.points, table.threshold)
        self.chart.content = svg(reject_chart(curve, point))
        self.facts.content = render(
            "reject_facts",
            table=table,
            point=point,
            statement=statement(table, point, curve),
            bundle=f"/files/models/{self.model.id}/download?{urlencode({'format': 'bundle'} | policy)}",
        )
        self.groups.content = render("reject_groups", table=table) + by_class
        self._draw_samples()

    async def _promises(self, share: float) -> str:
        """Draw what is certified if each class is to keep this share, as a policy of its own."""
        try:
            curve = await self.connection.models.risk_coverage(
                self.model.id,
                points=2,
                max_class_risk=share,
                max_missed=share,
                risk_confidence=float(self.confidence.value),
            )
        except ProblemError as error:  # the calibration is an old one
            return render("notice", tone="unsure", text=error.detail)
        return render("promises", promises=curve.promises)

    async def _score_samples(self) -> None:
        """Score a few stored samples with the model."""
        if self.model.dataset is None:
            return
        dataset = self.model.dataset
        samples = await first(self.connection.datasets.samples(dataset, split="test", limit=100), 100)
        every = max(1, len(samples) // SAMPLES)
        semaphore = asyncio.Semaphore(CONCURRENT)

        async def score(sample: Sample) -> ScoredSample:
            async with semaphore:
                answer = await self.connection.predict.sample(
                    model=self.model.id, dataset=dataset, sample=sample.id, top_k=1
                )
            prediction = answer.predictions[0]
            label, score = prediction.label or "–", prediction.score
            return ScoredSample(sample.id, sample.label, label, score, sample.needs_png)

        scored = await asyncio.gather(*(score(sample) for sample in samples[::every][:SAMPLES]))
        self.samples = sorted(scored, key=lambda s: -(s.score or 0))
        self._draw_samples()

    def _draw_samples(self) -> None:
        if self.samples:
            abstains = abstentions(self.samples, self.threshold)
            self.sample_strip.content = render(
                "strip",
                dataset=self.model.dataset,
                model=self.model.id,
                samples=list(zip(self.samples, abstains, strict=True)),
                abstained=sum(abstains),
            )


def _drift_warning(connection: AsyncClient, model: Model, key: OwnKey) -> None:
    """Say first that the inputs drifted, and offer to acknowledge it."""
    warning = drift_warning(model.drift)
    if not warning:
        return
    html("notice", tone="bad", text=warning)
    with ui.element("div").classes("actions"):
        if key.may("train"):
            button("Acknowledge the drift", lambda: _acknowledge(connection, model), "second")


@notify_on_error
async def _acknowledge(connection: AsyncClient, model: Model) -> None:
    question = "Have you looked at the inputs? The warning goes away, and comes back if they still differ."
    if await confirm(question, "Acknowledge it"):
        await connection.models.acknowledge_drift(model.id)
        ui.navigate.to(f"/models/{model.id}")


async def _drift(connection: AsyncClient, model: Model) -> None:
    """Show whether the model's inputs still look like its calibration split."""
    if model.calibration:
        try:
            html("drift", drift=await connection.models.drift(model.id))
        except ClientError:
            html(
                "notice",
                tone="",
                text="The inputs this model has served cannot be compared with its calibration split.",
            )
