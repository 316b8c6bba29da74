"""A new job: a kind, a data set, and only the fields that somebody wants to decide."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from client import AsyncClient, ClientError, Dataset, Model, Preset
from web import words
from web.connection import api
from web.estimate import Measured, Plan, estimate, measured
from web.shell import button, guarded, html, page, told
from web.widgets import choice

KINDS = ("masktune", "erm", "retrain_head", "evaluate")
BACKBONES = ("small_cnn", "resnet32", "resnet18", "resnet50", "efficientnet_b0", "convnext_tiny", "vit_b_16")
GROUPS = {
    "": "groups that are inferred from mistakes",
    "given": "the groups of the data set",
    "saliency_clusters": "groups inferred from where the model looks",
}
LOOKED_AT = 8
"""Earlier jobs whose reports tell what they took."""
LISTED = 200
"""Data sets and models in the choices, the newest."""


@page("/new", "New job", "/jobs")
async def show(dataset: str = "", model: str = "", kind: str = "masktune") -> None:
    connection = api()
    datasets = {d.id: d for d in await _newest(connection.datasets.list(limit=100)) if d.state == "ready"}
    if dataset and dataset not in datasets:
        chosen = await connection.datasets.get(dataset)
        datasets[chosen.id] = chosen
    models = await _newest(connection.models.list(limit=100))
    presets = [preset async for preset in connection.jobs.presets()]
    html("new_job_title")
    if not datasets:
        html("nothing_to_train")
        return
    form = Form(connection, datasets, models, presets, await _earlier(connection))
    form.build(dataset or next(iter(datasets)), model, kind if kind in KINDS else "masktune")
    await form.told()


class Form:
    """The fields of the page and what follows from them."""

    def __init__(
        self,
        connection: AsyncClient,
        datasets: dict[str, Dataset],
        models: list[Model],
        presets: list[Preset],
        earlier: list[Measured],
    ) -> None:
        self.connection = connection
        self.datasets, self.models = datasets, models
        self.presets = {preset.name: preset for preset in presets}
        self.earlier = earlier
        self.sides: dict[str, int | None] = {}

    def build(self, dataset: str, model: str, kind: str) -> None:
        """Draw everything; what does not belong to the chosen kind is hidden."""
        changed = guarded(lambda *_: self.told())
        with ui.element("div").classes("split"):
            with ui.element("div").classes("card"):
                with ui.element("div").classes("form"):
                    self.kind = choice(
                        "What to do", {k: words.kind(k) for k in KINDS}, kind, on_change=changed
                    )
                    names = {d.id: d.name for d in self.datasets.values()}
                    self.dataset = choice(
                        "Data set", names, dataset, on_change=changed, search=len(names) > 12
                    )
                self.says = ui.label().classes("quiet small").style("margin: 10px 0 16px")
                with ui.element("div").classes("form") as self.of_model:
                    self.groups = choice("Balanced over", GROUPS, "")
                    self.model = choice("Model to start from", self._models(), model or None, search=True)
                with ui.element("div") as self.of_training:
                    self._training(changed)
                with ui.element("div") as self.of_masks:
                    self._masks(changed)
            with ui.element("div"):
                # Above the cost, whose height follows the fields: a button must not move from under a click.
                self.wrong = ui.element("div").props("role=alert")
                button("Start the job", self.start)
                self.cost = ui.element("div").props("aria-live=polite").style("margin-top: 16px")

    def _training(self, changed: Any) -> None:
        titles = {"": "none: what suits the data set"} | {
            p.name: p.title or p.name for p in self.presets.values()
        }
        with ui.element("div").classes("form"):
            self.preset = choice("Preset", titles, "", on_change=changed)
            self.backbone = _text("Network", "the service chooses", changed, list(BACKBONES))
        with ui.element("details").style("margin-top: 14px"):
            ui.html("Fields that win over the preset", tag="summary", sanitize=False)
            with ui.element("div").classes("form").style("margin-top: 10px"):
                self.epochs = _number("Epochs", changed, low=1)
                self.image_size = _number("Image size in pixels", changed, low=8)
                self.batch_size = _number("Batch size", changed, low=2)
                self.learning_rate = _number("Learning rate", changed, low=0, step="any")
                self.weight_decay = _number("Weight decay", changed, low=0, step="any")
                augmentations = {"": "the service chooses", "none": "none", "crop_flip": "crop and flip"}
                self.augmentation = choice("Augmentation", augmentations, "")
                self.seed = _number("Seed", changed, low=0)
                self.pretrained = ui.switch("Start from published weights", on_change=changed)

    def _masks(self, changed: Any) -> None:
        with ui.element("details").style("margin-top: 8px"):
            ui.html("Masks and control", tag="summary", sanitize=False)
            with ui.element("div").classes("form").style("margin-top: 10px"):
                methods = {"": "xgradcam, as in the paper", "gradcam": "gradcam", "random": "random places"}
                self.method = choice("Saliency method", methods, "")
                self.sigmas = _number("Mask above mean + … deviations", changed, step="any")
                self.finetune_epochs = _number("Epochs on masked images", changed, low=1)
                self.control = ui.switch("Train a control without masks", value=True, on_change=changed)

    def _models(self) -> dict[str, str]:
        return {
            m.id: f"{words.arm(m.arm)} · {m.backbone} · {words.ago(m.created_at)} · {m.id[-6:]}"
            for m in self.models
        }

    async def told(self) -> None:
        """What the chosen kind is, which fields it has, and what it may cost."""
        kind = str(self.kind.value)
        self.says.text = words.KINDS[kind][1]
        self.of_training.set_visibility(kind in ("masktune", "erm"))
        self.of_masks.set_visibility(kind == "masktune")
        self.of_model.set_visibility(kind in ("retrain_head", "evaluate"))
        self.groups.set_visibility(kind == "retrain_head")
        dataset = self.datasets[str(self.dataset.value)]
        plan = await self._plan(kind, dataset)
        self.cost.clear()
        with self.cost:
            html("cost", estimate=estimate(plan, self.earlier), plan=plan, dataset=dataset)

    async def _plan(self, kind: str, dataset: Dataset) -> Plan:
        preset = self.presets.get(str(self.preset.value or ""))
        base = dict(preset.params) if preset else {}
        model = next((m for m in self.models if m.id == self.model.value), None)
        network, side = (model.backbone, model.image_size) if model is not None else (None, None)
        trains = kind in ("masktune", "erm")
        tuned = base.get("finetune", {}).get("epochs")
        return Plan(
            kind=kind,
            images=dataset.splits,
            backbone=(_chosen(self.backbone) or base.get("backbone")) if trains else network,
            epochs=_whole(self.epochs) or base.get("epochs"),
            image_size=(_whole(self.image_size) or base.get("image_size")) if trains else side,
            finetune_epochs=_whole(self.finetune_epochs) or tuned,
            control=bool(self.control.value),
            side=await self._side(dataset.id),
        )

    async def _side(self, dataset: str) -> int | None:
        """The longer side of the first image, for a guess."""
        if dataset not in self.sides:
            self.sides[dataset] = None
            async for sample in self.connection.datasets.samples(dataset, limit=1):
                extra = sample.model_extra or {}
                self.sides[dataset] = max(extra.get("width") or 0, extra.get("height") or 0) or None
                break
        return self.sides[dataset]

    def fields(self) -> dict[str, Any]:
        """What is sent: the fields that somebody filled, and no others."""
        kind = str(self.kind.value)
        if kind in ("retrain_head", "evaluate"):
            groups = self.groups.value or None if kind == "retrain_head" else None
            return _given(dataset=self.dataset.value, model=self.model.value, groups=groups)
        found: dict[str, Any] = {
            "preset": self.preset.value or None,
            "backbone": _chosen(self.backbone),
            "epochs": _whole(self.epochs),
            "image_size": _whole(self.image_size),
            "batch_size": _whole(self.batch_size),
            "augmentation": self.augmentation.value or None,
            "seed": _whole(self.seed),
            "pretrained": True if self.pretrained.value else None,
            "optimizer": _given(learning_rate=self.learning_rate.value, weight_decay=self.weight_decay.value),
        }
        if kind == "masktune":
            found["masking"] = _given(method=self.method.value or None, sigmas=self.sigmas.value)
            found["finetune"] = _given(epochs=_whole(self.finetune_epochs))
            found["control"] = None if self.control.value else False
        return {"dataset": self.dataset.value} | _given(**found)

    async def start(self) -> None:
        """Start the job and go to it; what is wrong stays beside the button until the next try."""
        self.wrong.clear()
        kind = str(self.kind.value)
        if kind in ("retrain_head", "evaluate") and not self.model.value:
            self._refused("There is no model yet", "Choose the model to start from.")
            return
        try:
            job = await self.connection.jobs.start(kind, **self.fields())
        except ClientError as error:
            self._refused(*told(error))
            return
        ui.navigate.to(f"/jobs/{job.id}")

    def _refused(self, title: str, detail: str) -> None:
        with self.wrong:
            html("refused", title=title, detail=detail)


async def _earlier(connection: AsyncClient) -> list[Measured]:
    """What the newest ended trainings took; none where their reports cannot be read."""
    found = []
    async for job in connection.jobs.list(state="succeeded", limit=50):
        if job.kind in ("masktune", "erm"):
            try:
                report = await connection.jobs.report(job.id)
            except ClientError:
                continue
            found.append(measured(job.id, job.dataset, job.params, report.get("cost") or ()))
        if len(found) == LOOKED_AT:
            break
    return found


async def _newest(listed: Any) -> list[Any]:
    found = []
    async for entry in listed:
        found.append(entry)
        if len(found) == LISTED:
            break
    return found


def _number(label: str, on_change: Any, *, low: float | None = None, step: str = "1") -> ui.number:
    found = ui.number(label, min=low, on_change=on_change, placeholder="the service chooses")
    return found.props(f"outlined dense stack-label step={step} debounce=300")


def _text(label: str, placeholder: str, on_change: Any, options: list[str]) -> ui.input:
    found = ui.input(label, placeholder=placeholder, autocomplete=options, on_change=on_change)
    return found.props("outlined dense stack-label debounce=300")


def _chosen(field: ui.input) -> str | None:
    return str(field.value or "").strip() or None


def _whole(field: ui.number) -> int | None:
    return None if field.value is None else int(field.value)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in (None, {})}
