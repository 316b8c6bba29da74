"""Aliases: those on a model's page, and the question which one to point at a model."""

from __future__ import annotations

import re

from nicegui import ui

from masktune import Alias, AsyncClient, Model, OwnKey, ProblemError
from web.shell import ask, button, confirm, html, notify_on_error

ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DEFAULT_ALIAS = "production"
ALIAS_SIGNS = "Up to 64 lower-case letters, digits, dots, dashes and underscores; a letter or digit first."


class AliasPanel:
    """The aliases that point at a model."""

    def __init__(self, connection: AsyncClient, model: Model, key: OwnKey) -> None:
        self.connection, self.model, self.key = connection, model, key

    async def build(self) -> None:
        ui.html("<h2>Aliases</h2>", sanitize=False)
        html("aliases_title")
        self.holder = ui.element("div")
        if self.key.may("admin"):
            with ui.element("div").classes("actions").style("align-items: end"):
                self.name = ui.input("Alias", placeholder="birds-best").props("outlined dense stack-label")
                button("Point it at this model", notify_on_error(self.point_here), "second")
        await self.draw()

    async def draw(self) -> None:
        """Redraw the aliases that point at this model, with their last moves."""
        names = [a.name async for a in self.connection.models.aliases() if a.model == self.model.id]
        aliases = [await self.connection.models.alias(name) for name in names[:10]]
        self.holder.clear()
        with self.holder:
            for alias in aliases:
                with ui.element("div").classes("card"):
                    html("alias", alias=alias)
                    if not self.key.may("admin"):
                        continue
                    with ui.element("div").classes("actions").style("margin-top: 10px"):
                        if len({move.model for move in alias.history if move.model}) > 1:
                            button("Roll back", lambda name=alias.name: self.roll_back(name), "second")
                        button("Delete alias", lambda name=alias.name: self.delete(name), "danger")

    async def point_here(self) -> None:
        name = str(self.name.value or "").strip()
        if not ALIAS.fullmatch(name):
            self.name.error = ALIAS_SIGNS
            return
        if await point_alias(self.connection, name, self.model.id):
            self.name.value = ""
            await self.draw()

    @notify_on_error
    async def roll_back(self, name: str) -> None:
        moved = await self.connection.models.roll_back_alias(name)
        ui.notify(f"{name} points at {moved.model} again.", type="positive")
        await self.draw()

    @notify_on_error
    async def delete(self, name: str) -> None:
        question = f"Delete the alias {name}? The model stays, but programs that use the alias will fail."
        if await confirm(question, "Delete it"):
            await self.connection.models.delete_alias(name)
            await self.draw()


@notify_on_error
async def choose_alias(connection: AsyncClient, model: str) -> None:
    """Ask which alias to point at the model, and point it there."""
    question = "Which name do your programs use?"
    if name := await ask(
        question,
        "Alias",
        DEFAULT_ALIAS,
        "Point it at this model",
        lambda alias: "" if ALIAS.fullmatch(alias) else ALIAS_SIGNS,
    ):
        await point_alias(connection, name, model)


async def point_alias(connection: AsyncClient, name: str, model: str) -> bool:
    """Point the alias at the model; return whether it now does. Asks first if it points at another model,
    since programs may be using it.
    """
    current = await _current(connection, name)
    if current is not None and current.model != model:
        question = f"{name} now points at {current.model}. Serve this model to the programs that use it?"
        if not await confirm(question, "Move it"):
            return False
    await connection.models.set_alias(name, model)
    ui.notify(f"{name} now points at this model.", type="positive")
    return True


async def _current(connection: AsyncClient, name: str) -> Alias | None:
    try:
        return await connection.models.alias(name)
    except ProblemError as error:
        if error.status == 404:
            return None
        raise
