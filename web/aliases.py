"""The names of a model on its page: pointed here, moved back, forgotten."""

from __future__ import annotations

from nicegui import ui

from client import Alias, AsyncClient, Model, ProblemError
from web.shell import button, confirmed, guarded, html
from web.uploads import ALIAS, ALIAS_SIGNS


class Names:
    """The aliases: pointed here, taken back."""

    def __init__(self, connection: AsyncClient, model: Model) -> None:
        self.connection, self.model = connection, model

    async def build(self) -> None:
        ui.html("<h2>Names</h2>", sanitize=False)
        html("aliases_title")
        self.holder = ui.element("div")
        with ui.element("div").classes("actions").style("align-items: end"):
            self.name = ui.input("Alias", placeholder="birds-best").props("outlined dense stack-label")
            button("Let it stand for this model", self.point, "second")
        await self.draw()

    async def draw(self) -> None:
        """Those that point here, with their last moves."""
        here = [a.name async for a in self.connection.models.aliases() if a.model == self.model.id]
        aliases = [await self.connection.models.alias(name) for name in here[:10]]
        self.holder.clear()
        with self.holder:
            for alias in aliases:
                with ui.element("div").classes("card"):
                    html("alias", alias=alias)
                    with ui.element("div").classes("actions").style("margin-top: 10px"):
                        if len({move.model for move in alias.history if move.model}) > 1:
                            button(
                                "Back to the model before", lambda name=alias.name: self.back(name), "second"
                            )
                        button("Forget the name", lambda name=alias.name: self.forget(name), "danger")

    @property
    def _name(self) -> str:
        return str(self.name.value or "").strip()

    async def point(self) -> None:
        if not ALIAS.fullmatch(self._name):
            self.name.error = ALIAS_SIGNS
            return
        await guarded(self._point)()

    async def _point(self) -> None:
        """Not before the visitor knows whom it is taken from: programs that ask for it are served by it."""
        name, now = self._name, await self._present(self._name)
        if now is not None and now.model != self.model.id:
            question = f"{name} stands for {now.model} now. Let programs that ask for it get this model?"
            if not await confirmed(question, "Move it"):
                return
        await self.connection.models.set_alias(name, self.model.id)
        ui.notify(f"{name} now stands for this model.", type="positive")
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
            ui.notify(f"{name} stands for {moved.model} again.", type="positive")
            await self.draw()

        await guarded(move)()

    async def forget(self, name: str) -> None:
        async def remove() -> None:
            await self.connection.models.delete_alias(name)
            await self.draw()

        if await confirmed(
            f"Forget the name {name}? The model stays; programs that ask for the name do not.", "Forget it"
        ):
            await guarded(remove)()
