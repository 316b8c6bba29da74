"""One model: how often it is wrong, when it would abstain, its aliases, its files."""

from __future__ import annotations

import asyncio

from nicegui import ui

from masktune import AsyncClient, ClientError, Model, OwnKey, ProblemError, RiskCoverage
from web.aliases import Names
from web.charts import svg
from web.paging import first
from web.shell import button, confirmed, guarded, html, page, rendered, titled
from web.text import labels as words
from web.text.selection import CURVE_POINTS, Shown, curve_chart, point_at, point_of, refused, statement
from web.transport.connection import api, own_key
from web.widgets import Slide, choice

STRIP = 24
"""Stored samples shown as answered or abstained."""
AT_A_TIME = 6
QUIET_SECONDS = 0.15
"""Debounce: seconds after the last move of a slider before the page asks the service."""


@page("/models/{model_id}", "Model", "/models")
async def show(model_id: str) -> None:
    connection = api()
    model, own = await connection.models.get(model_id), await own_key(connection)
    with ui.element("div").classes("title-row"):
        name = await _name(connection, model)
        titled(
            f"{words.arm(model.arm)} · {words.cut(name)} · Model"
            if name
            else f"{words.arm(model.arm)} · Model"
        )
        html("model_title", m=model, dataset=name)
        with ui.element("div").classes("actions"):
            if own.may("predict"):
                button("Try it", lambda: ui.navigate.to(f"/try?model={model.id}"))
            if own.may("train"):
                kind, text = ("predict", "Predict a split") if model.calibration else ("evaluate", "Evaluate")
                button(text, lambda: ui.navigate.to(f"/new?kind={kind}&model={model.id}"), "second")
            if own.may("admin"):
                button("Delete", lambda: _delete(connection, model), "danger")
    html("model_figures", m=model)
    if model.calibration:
        try:
            found = await connection.models.risk_coverage(model.id, points=CURVE_POINTS)
        except ProblemError as error:
            html("notice", tone="unsure", text=error.detail)
        else:
            view = RejectOption(connection, model, found, own)
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
    await Names(connection, model, own).build()
    html("model_files", m=model)


async def _name(connection: AsyncClient, model: Model) -> str:
    """The name of the model's data set, which may have been deleted."""
    if model.dataset is None:
        return ""
    try:
        return (await connection.datasets.get(model.dataset)).name
    except ProblemError:
        return "a deleted data set"


class RejectOption:
    """The curve with its slider, the groups at the chosen threshold, and samples it would abstain on."""

    def __init__(self, connection: AsyncClient, model: Model, found: RiskCoverage, own: OwnKey) -> None:
        self.connection, self.model, self.found, self.own = connection, model, found, own
        self.asked = 0
        self.shown: list[Shown] = []
        self.threshold: float | None = None

    def build(self) -> None:
        html("reject_title", n=self.found.n)
        with ui.element("div").classes("split"):
            with ui.element("div").classes("card"):
                self.curve = ui.html(sanitize=False)
            with ui.element("div").classes("card"):
                self.by = choice(
                    "Choose by",
                    {
                        "coverage": "coverage: share of inputs answered",
                        "max_risk": "risk: share of answers that may be wrong",
                    },
                    "coverage",
                    on_change=self._by,
                )
                self.says = ui.label().classes("caption").style("margin: 16px 0 0; font-weight: 600")
                self.coverage = Slide(
                    "Coverage in percent", low=1, high=100, step=1, value=90, on_move=self._moved
                )
                self.risk = Slide("Risk in percent", low=0.5, high=30, step=0.5, value=5, on_move=self._moved)
                self.risk.set_visibility(False)
                self.confidence = choice("Confidence", words.CONFIDENCES, 0.99, on_change=self._moved)
                self.confidence.set_visibility(False)
                self.facts = ui.html(sanitize=False).props("aria-live=polite")
        self.strip = ui.html(sanitize=False)
        self.groups = ui.html(sanitize=False)
        self.waiting = ui.timer(QUIET_SECONDS, self._settled, active=False, once=False)

    async def fill(self) -> None:
        """Fetch what needs further requests once the page is shown."""
        await guarded(self._ask)()
        if self.own.may("predict"):
            await guarded(self._strip)()

    def _by(self, *_: object) -> None:
        risk = self.by.value == "max_risk"
        self.confidence.set_visibility(risk)
        self.risk.set_visibility(risk)
        self.coverage.set_visibility(not risk)
        self._moved()

    @property
    def _value(self) -> float:
        return (self.coverage if self.by.value == "coverage" else self.risk).at / 100

    def _moved(self, *_: object) -> None:
        """Show at once what the curve already tells; request the rest when the slider comes to rest."""
        value = self._value
        if self.by.value == "coverage":
            at = point_at(self.found.points, value)
            self.says.text = f"Answer {words.percent(value, 0)} of the inputs"
            self.curve.content = svg(curve_chart(self.found, at))
        else:
            self.says.text = f"At most {words.percent(value)} of the answers may be wrong"
        self.waiting.activate()

    async def _settled(self) -> None:
        self.waiting.deactivate()
        await guarded(self._ask)()

    async def _ask(self) -> None:
        """Request and show the table at this threshold, including the certificate."""
        self.asked += 1
        number, value = self.asked, self._value
        if self.by.value == "coverage":
            self.says.text = f"Answer {words.percent(value, 0)} of the inputs"
            found = await self.connection.models.risk_coverage(
                self.model.id, points=CURVE_POINTS, coverage=value
            )
        else:
            found = await self.connection.models.risk_coverage(
                self.model.id,
                points=CURVE_POINTS,
                max_risk=value,
                risk_confidence=float(self.confidence.value),
            )
        if number != self.asked:
            return  # superseded by a later request
        table = found.table
        self.threshold = table.threshold
        at = point_of(found.points, table.threshold)
        self.curve.content = svg(curve_chart(found, at))
        self.facts.content = rendered(
            "reject_facts", table=table, at=at, statement=statement(table, at, found)
        )
        self.groups.content = rendered("reject_groups", table=table)
        self._draw_strip()

    async def _strip(self) -> None:
        """Score a few stored samples with the model."""
        if self.model.dataset is None:
            return
        dataset = self.model.dataset
        seen = await first(self.connection.datasets.samples(dataset, split="test", limit=100), 100)
        every = max(1, len(seen) // STRIP)
        gate = asyncio.Semaphore(AT_A_TIME)

        async def look(number: int, label: str) -> Shown:
            async with gate:
                answer = await self.connection.predict.sample(
                    model=self.model.id, dataset=dataset, sample=number, top_k=1
                )
            said = answer.predictions[0]
            return Shown(number, label, said.label or "–", said.score)

        shown = await asyncio.gather(*(look(s.id, s.label) for s in seen[::every][:STRIP]))
        self.shown = sorted(shown, key=lambda s: -(s.score or 0))
        self._draw_strip()

    def _draw_strip(self) -> None:
        if self.shown:
            out = refused(self.shown, self.threshold)
            self.strip.content = rendered(
                "strip",
                dataset=self.model.dataset,
                shown=list(zip(self.shown, out, strict=True)),
                refused=sum(out),
            )


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


async def _delete(connection: AsyncClient, model: Model) -> None:
    async def remove() -> None:
        await connection.models.delete(model.id)
        ui.navigate.to("/models")

    if await confirmed("Delete this model and its files? This cannot be undone.", "Delete it"):
        await guarded(remove)()
