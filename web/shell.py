"""Shared by all pages: the frame, errors, and the prompt for a key."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ParamSpec

from jinja2 import Environment, PackageLoader, StrictUndefined
from nicegui import Client, ui
from starlette.requests import Request
from starlette.responses import Response

from masktune import ClientError, Dataset, Job, Model, OwnKey, ProblemError
from masktune.contract import upload_files
from masktune.contract.deletion import deletion_question
from masktune.contract.report.text import (
    coverage_statement,
    drift_name,
    drift_warning,
    formats,
    job_drift_statement,
    names,
    notes,
    promise_name,
    promise_statement,
    set_text,
    sets_statement,
    uncertified,
)
from web.text import labels, manual
from web.transport.connection import (
    THEME_COOKIE,
    UNSENDABLE,
    api,
    end_when_revoked,
    identify_visitor,
    key_of,
    link,
    request,
)
from web.transport.errors import error_text

P = ParamSpec("P")

SECTIONS = (
    ("/", "Data sets"),
    ("/jobs", "Jobs"),
    ("/models", "Models"),
    ("/try", "Try it"),
    ("/reviews", "Reviews"),
    ("/storage", "Storage"),
)

THEMES = {"light": False, "dark": True}
"""Whether the theme is dark; any other value follows the system."""

STATIC = Path(__file__).parent / "static"
_VERSION = max(int(file.stat().st_mtime) for file in STATIC.iterdir())
"""Part of the URLs of the static files, so that browsers do not use outdated cached copies."""

_templates = Environment(
    loader=PackageLoader("web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals |= {"labels": labels, "names": names, "notes": notes, "formats": formats}
_templates.globals |= {
    "drift_name": drift_name,
    "drift_warning": drift_warning,
    "promise_statement": promise_statement,
    "coverage_statement": coverage_statement,
    "job_drift_statement": job_drift_statement,
}
_templates.globals |= {"uncertified": uncertified, "upload_files": upload_files}
_templates.globals |= {"promise_name": promise_name, "set_text": set_text, "sets_statement": sets_statement}


def promise_notice(model: Model) -> None:
    """Show whether the model's promise holds, if one is monitored."""
    if model.promise is not None:
        html("notice", tone=labels.TONES.get(model.promise.status, ""), text=promise_statement(model.promise))


def html(template: str, **values: Any) -> ui.html:
    """Add a template of this package to the page. Values are escaped."""
    return ui.html(render(template, **values), sanitize=False)


def render(template: str, **values: Any) -> str:
    """Render a template to text. Outside of a page, pass `link` if the template has links."""
    return _templates.get_template(f"{template}.html.j2").render({"link": link} | values)


def page(
    path: str, title: str, section: str = ""
) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Any]]:
    """Register a page: its frame, then what the function builds, or the error that it raises.

    `section` is the path of the navigation entry that the page belongs to.
    """

    def register(build: Callable[P, Awaitable[None]]) -> Callable[P, Any]:
        @functools.wraps(build)
        async def show(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                own = await identify_visitor()
            except ClientError as error:
                with _frame(title, section or path, path=path):
                    return show_error(error, section or path)
            end_when_revoked()
            with _frame(title, section or path, own, path) as content:
                try:
                    await build(*args, **kwargs)
                except ClientError as error:
                    content.clear()
                    with content:
                        show_error(error, section or path)

        # The first request for a model loads it, which takes longer than NiceGUI's three seconds.
        return ui.page(path, title=f"{title} · masktune", dark=None, response_timeout=90)(show)

    return register


def set_title(subject: str) -> None:
    """Name the page's subject in its title, which is all that browser tabs and histories show."""
    ui.page_title(f"{subject} · masktune")


def error_page(browser_request: Request, error: ClientError, section: str = "/") -> Response:
    """A page that says why a requested file is not available."""
    status = error.status if isinstance(error, ProblemError) else 502
    title = f"{error_text(error)[0]} · masktune"
    with Client(ui.page("", title=title, dark=None), request=browser_request) as client:
        with _frame("", section):
            show_error(error, section)
    return client.build_response(browser_request, status)


def _frame(title: str, section: str, own: OwnKey | None = None, path: str = "") -> ui.element:
    """The frame around every page, with who is in. Returns the element that holds the page itself."""
    theme = request().cookies.get(THEME_COOKIE, "auto")
    ui.add_head_html(render("head", version=_VERSION))
    dark = ui.dark_mode(THEMES.get(theme))
    # The script has already changed the theme; without this, a redraw would revert it.
    ui.on("masktune-theme", lambda event: dark.set_value(THEMES.get(str(event.args))))
    with ui.header(fixed=False, elevated=False).classes("frame"):
        has_key = key_of(request()) is not None
        html(
            "frame",
            sections=SECTIONS,
            section=section,
            theme=theme,
            own=own,
            has_key=has_key,
            help=manual.HELP.get(path, "index.md"),
        )
    content = ui.element("div").classes("content").props("id=content tabindex=-1")
    html("foot")
    return content


def show_error(error: ClientError, section: str = "/") -> None:
    """Show an error on the page: what happened and what to do. `section`: target of its link."""
    if isinstance(error, ProblemError) and error.status == 401:
        unsendable = UNSENDABLE in request().query_params
        html("key", wrong=key_of(request()) is not None, unsendable=unsendable, next=_page_address())
        return
    title, detail = error_text(error)
    final = isinstance(error, ProblemError) and error.status in (403, 404, 422)
    section = section if section in dict(SECTIONS) else "/"
    name = dict(SECTIONS)[section]
    html("error", title=title, detail=detail, can_retry=not final, section=section, name=name)


def _page_address() -> str:
    """The URL of this page as the browser knows it, without the `UNSENDABLE` parameter."""
    url = request().url.remove_query_params(UNSENDABLE)
    return str(url.replace(scheme="", netloc="")).removeprefix("//")


def notify_on_error(handler: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Wrap an event handler so that its errors are shown as notifications and leave the page unchanged."""

    @functools.wraps(handler)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            await handler(*args, **kwargs)
        except ClientError as error:
            title, detail = error_text(error)
            ui.notify(
                f"{title}. {detail}", type="negative", multi_line=True, timeout=9000, close_button="Close"
            )

    return run


def button(text: str, on_click: Callable[..., Any], kind: str = "") -> ui.button:
    """A button in the dashboard's own style. `kind`: "", "second" or "danger"."""
    return (
        ui.button(text, on_click=on_click, color=None).props("unelevated no-caps").classes(f"button {kind}")
    )


async def confirm(question: str, yes: str) -> bool:
    """Ask the visitor to confirm; return whether they did."""
    with ui.dialog() as dialog, ui.card().props("role=document"):
        dialog.props["aria-label"] = question
        dialog.on("hide", dialog.delete)  # not before: it first returns the focus to the pressed button
        ui.label(question)
        with ui.element("div").classes("actions"):
            button(yes, lambda: dialog.submit(True), "danger")
            button("Go back", lambda: dialog.submit(False), "second")
    return bool(await dialog)


async def ask(question: str, label: str, text: str, yes: str, fault_of: Callable[[str], str]) -> str | None:
    """Ask the visitor for a text, at first this one; None if they go back.

    `fault_of` says what is wrong with a text; "" for one that will do.
    """
    with ui.dialog() as dialog, ui.card().props("role=document"):
        dialog.props["aria-label"] = question
        dialog.on("hide", dialog.delete)
        ui.label(question)
        field = ui.input(label, value=text).props("outlined dense stack-label maxlength=100")

        def submit() -> None:
            field.error = fault_of(field.value) or None
            if field.error is None:
                dialog.submit(field.value)

        field.on("keydown.enter", submit)
        with ui.element("div").classes("actions"):
            button(yes, submit)
            button("Go back", lambda: dialog.submit(None), "second")
    answer: str | None = await dialog
    return answer


@notify_on_error
async def rename(
    resource: Dataset | Job | Model, update: Callable[..., Awaitable[object]], *, required: bool = False
) -> None:
    """Ask for a name, give it to the resource by the client's operation, and draw the page anew."""
    name = await ask(
        "What shall it be called?",
        "Name",
        resource.name or "",
        "Rename it",
        lambda text: "Enter a name." if required and not text.strip() else "",
    )
    if name is not None:
        await update(resource.id, name=name.strip() or None)
        ui.navigate.reload()


@notify_on_error
async def ask_and_delete(id: str, name: str, delete: Callable[[str], Awaitable[None]], then: str) -> None:
    """Ask with what needs it, delete it, and go to the page `then`. `name`: what its users call it."""
    if await confirm(deletion_question(await api().dependents(id), name), "Delete it"):
        await delete(id)
        ui.navigate.to(then)
