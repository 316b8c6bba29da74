"""The aliases on a model's page: point one at the model, roll it back, delete it."""

from __future__ import annotations

from nicegui import ui

from masktune import Alias, AsyncClient, Model, OwnKey, ProblemError
from web.shell import button, confirmed, guarded, html
from web.transport.uploads import ALIAS, ALIAS_SIGNS


class Names:
    """The aliases that point at a model."""

    def __init__(self, connection: AsyncClient, model: Model, own: OwnKey) -> None:
        self.connection, self.model, self.own = connection, model, own

    async def build(self) -> None:
        ui.html("<h2>Aliases</h2>", sanitize=False)
        html("aliases_title")
        self.holder = ui.element("div")
        if self.own.may("admin"):
            with ui.element("div").classes("actions").style("align-items: end"):
                self.name = ui.input("Alias", placeholder="birds-best").props("outlined dense stack-label")
                button("Point it at this model", self.point, "second")
        await self.draw()

    async def draw(self) -> None:
        """Redraw the aliases that point at this model, with their last moves."""
        here = [a.name async for a in self.connection.models.aliases() if a.model == self.model.id]
        aliases = [await self.connection.models.alias(name) for name in here[:10]]
        self.holder.clear()
        with self.holder:
            for alias in aliases:
                with ui.element("div").classes("card"):
                    html("alias", alias=alias)
                    if not self.own.may("admin"):
                        continue
                    with ui.element("div").classes("actions").style("margin-top: 10px"):
                        if len({move.model for move in alias.history if move.model}) > 1:
                            button("Roll back", lambda name=alias.name: self.back(name), "second")
                        button("Delete alias", lambda name=alias.name: self.forget(name), "danger")

    @property
    def _name(self) -> str:
        return str(self.name.value or "").strip()

    async def point(self) -> None:
        if not ALIAS.fullmatch(self._name):
            self.name.error = ALIAS_SIGNS
            return
        await guarded(self._point)()

    async def _point(self) -> None:
        """Point the alias here. Asks first if it points at another model, since programs may be using it."""
        name, now = self._name, await self._present(self._name)
        if now is not None and now.model != self.model.id:
            question = f"{name} now points at {now.model}. Serve this model to the programs that use it?"
            if not await confirmed(question, "Move it"):
                return
        await self.connection.models.set_alias(name, self.model.id)
        ui.notify(f"{name} now points at this model.", type="positive")
        self.name.value = ""
        await self.draw()

    async def _present(self, name: str) -> Alias | None:
        try:
            return await self.connection.models.alias(name)
        except ProblemError as error:
            if error.status == 404:
                return None
            raise

    async def back(self, name: str) -> None:
        async def move() -> None:
            moved = await self.connection.models.roll_back_alias(name)
            ui.notify(f"{name} points at {moved.model} again.", type="positive")
            await self.draw()

        await guarded(move)()

    async def forget(self, name: str) -> None:
        async def remove() -> None:
            await self.connection.models.delete_alias(name)
            await self.draw()

        if await confirmed(
            f"Delete the alias {name}? The model stays, but programs that use the alias will fail.",
            "Delete it",
        ):
            await guarded(remove)()
