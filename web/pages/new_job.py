"""A new job: its kind, what it starts from, and optional fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from masktune import AsyncClient, ClientError, FieldError, Job, JobPlan, ProblemError
from masktune.contract.jobs.comparison import dotted_settings
from masktune.contract.serving.predictions import POLICY_OF
from web.forms.fields import Choices, Field, Fields
from web.forms.kinds import FORMS, MAIN_KIND
from web.paging import first
from web.shell import button, html, notify_on_error, page
from web.text import labels
from web.transport.connection import api, missing_scope, own_key, verdict_titles
from web.transport.errors import error_text
from web.widgets import select_field

LISTED = 100
"""The newest data sets, models and mask sets, offered as choices."""
PROBLEM_FIELDS = {"model-of-another-dataset": "/dataset", "dataset-not-ready": "/dataset"}
"""The fields at which problems that name no field are shown."""


@page("/new", "New job", "/jobs")
async def show(
    dataset: str = "",
    model: str = "",
    mask_set: str = "",
    kind: str = MAIN_KIND,
    groups: str = "",
    preset: str = "",
    max_train_samples: int | None = None,
    seeds: int | None = None,
    like: str = "",
) -> None:
    """`like`: id of the job whose fields the form starts with."""
    connection = api()
    key = own_key()
    if not key.may("train"):
        html("new_job_title")
        html("notice", tone="unsure", text=missing_scope(key, "train"))
        return
    inputs: dict[str, Any] = {"/dataset": dataset, "/model": model, "/mask_set": mask_set, "/groups": groups}
    inputs |= {"/preset": preset, "/max_train_samples": max_train_samples, "/seeds": seeds}
    earlier = await connection.jobs.get(like) if like else None
    if earlier is not None:
        inputs, kind = values_of(earlier), earlier.kind
        dataset, model = inputs["/dataset"] or "", inputs["/model"] or ""
    datasets = {
        d.id: d for d in await first(connection.datasets.list(limit=100), LISTED) if d.state == "ready"
    }
    if dataset and dataset not in datasets:
        datasets[dataset] = await connection.datasets.get(dataset)
    models = await first(connection.models.list(limit=100), LISTED)
    if model and all(m.id != model for m in models):
        models.append(await connection.models.get(model))
    choices = Choices(
        datasets,
        models,
        await verdict_titles(),
        await first(connection.jobs.list(kind="mask", state="succeeded", limit=100), LISTED),
        {preset.name: preset async for preset in connection.jobs.presets()},
        [],
    )
    html("new_job_title")
    if not datasets:
        html("nothing_to_train")
        return
    form = Form(connection, choices, earlier)
    initial = {pointer: entry for pointer, entry in inputs.items() if entry not in ("", None)}
    form.build(kind if kind in FORMS else MAIN_KIND, initial)
    if earlier is not None:
        ui.run_javascript("for (const fold of document.querySelectorAll('details')) fold.open = true")
    await form.update_estimate()
    ui.timer(0.1, form.list_backbones, once=True)


def by_pointer(job: Job) -> dict[str, Any]:
    """What the job was asked for, by JSON pointer; of a source, the data set that was made of it."""
    requested = dotted_settings({name: entry for name, entry in job.request.items() if name != "source"})
    return {f"/{name.replace('.', '/')}": entry for name, entry in requested if entry is not None}


def values_of(job: Job) -> dict[str, Any]:
    """The same as fields show it: shares in percent, and the ids of what it read instead of aliases."""
    values = by_pointer(job) | {f"/{name}": id for name, id in job.inputs.model_dump().items()}
    for name in POLICY_OF.keys() & {pointer.strip("/") for pointer in values}:
        policy = POLICY_OF[name]
        others = {f"/{other}": None for other in POLICY_OF if POLICY_OF[other] == policy}
        values = others | values | {"policy": policy, f"/{name}": round(100 * values[f"/{name}"], 4)}
    return values | {"/dataset": job.dataset}


class Form:
    """The kind, its fields, and the resulting cost estimate."""

    def __init__(self, connection: AsyncClient, choices: Choices, earlier: Job | None = None) -> None:
        self.connection, self.choices, self.earlier = connection, choices, earlier
        self.initial: dict[str, Any] = {}
        """Field values of the kinds viewed so far, by pointer."""
        self.changes = 0

    def build(self, kind: str, initial: Mapping[str, Any]) -> None:
        self.initial.update(initial)
        self.on_change = notify_on_error(lambda *_: self.update_estimate())
        with ui.element("div").classes("split"):
            with ui.element("div").classes("card"):
                kinds = {name: labels.kind(name) for name in FORMS}
                self.kind = select_field(
                    "What to do", kinds, kind, on_change=notify_on_error(self.change_kind)
                )
                self.description = ui.label().classes("quiet small").style("margin: 10px 0 16px")
                self.holder = ui.element("div")
            with ui.element("div"):
                # Above the cost, whose height varies with the fields: a button must not move during a click.
                self.error = ui.element("div").props("role=alert")
                self.start_button = button("Start the job", self.start)
                self.cost = ui.element("div").props("aria-live=polite").style("margin-top: 16px")
        self.fields = self._fields()

    def _fields(self) -> Fields:
        """The fields of the kind; of that of the earlier job, with what it was asked for besides."""
        with self.holder:
            fields = FORMS[str(self.kind.value)](self.choices, self.initial, self.on_change)
            if self.earlier is not None and self.earlier.kind == self.kind.value:
                requested = by_pointer(self.earlier).items()
                fields.others = {
                    pointer: entry for pointer, entry in requested if pointer not in fields.by_pointer
                }
                html("other_fields", others=fields.others)
        return fields

    async def change_kind(self, *_: object) -> None:
        """Switch to another kind, keeping the values of fields that both kinds have."""
        self.initial.update(self.fields.values())
        self.error.clear()
        self.holder.clear()
        self.fields = self._fields()
        await self.update_estimate()

    @notify_on_error
    async def list_backbones(self) -> None:
        """List the networks once the page is there: a service that has just started takes seconds."""
        self.choices.backbones[:] = [b async for b in self.connection.models.backbones(limit=3000)]
        self.fields.offer_backbones()

    async def update_estimate(self) -> None:
        """Describe the chosen kind, and ask the service what the job would cost."""
        self.description.text = labels.KINDS[str(self.kind.value)][1]
        self.changes += 1
        change = self.changes
        plan = await self._plan()
        if change != self.changes:  # a field has changed while the service answered
            return
        self.cost.clear()
        if plan is not None:
            with self.cost:
                html("cost", plan=plan)

    async def _plan(self) -> JobPlan | None:
        """The plan of the job; None if the fields are incomplete or refused, which the start explains."""
        if self.fields.errors():
            return None
        try:
            return await self.connection.jobs.plan(str(self.kind.value), **self.fields.request_body())
        except ClientError:
            return None

    async def start(self) -> None:
        """Start the job and open its page. Errors stay beside their fields until these change."""
        if not self.start_button.enabled:  # a second click, sent before the page was updated
            return
        self.error.clear()
        errors = self.fields.errors()
        if errors:
            self._show_errors("Some fields are missing or invalid", errors)
            return
        self.start_button.disable()
        try:
            job = await self.connection.jobs.start(str(self.kind.value), **self.fields.request_body())
        except ProblemError as error:
            title, detail = error_text(error)
            pointer = PROBLEM_FIELDS.get(error.code, "")
            self._show_errors(title, error.errors or (FieldError(pointer, error.code, detail),))
            return
        except ClientError as error:
            title, detail = error_text(error)
            self._show_errors(title, (FieldError("", "", detail),))
            return
        ui.navigate.to(f"/jobs/{job.id}")

    def _show_errors(self, title: str, errors: Sequence[FieldError]) -> None:
        self.start_button.enable()
        marked, others = self.fields.mark(errors)
        beside = f"See {', '.join(field.label for field in marked)}." if marked else ""
        details = [f"{other.pointer}: {other.detail}".removeprefix(": ") for other in others]
        with self.error:
            html("form_error", title=title, detail=" ".join([beside, "; ".join(details)]).strip())
        _reveal(marked)


def _reveal(fields: list[Field]) -> None:
    """Unfold the marked fields and scroll to the first."""
    ids = [field.element.html_id for field in fields]
    ui.run_javascript(
        f"const wrong = {ids}.map((id) => document.getElementById(id)).filter(Boolean);"
        "for (const one of wrong) one.closest('details')?.setAttribute('open', '');"
        "wrong[0]?.scrollIntoView({block: 'nearest'});"
    )
