"""Who is told of events: a form for a webhook, and all that there are with their newest messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from masktune import AsyncClient, Delivery, Webhook
from masktune.contract.vocabulary import WebhookEvent
from web.paging import first
from web.shell import button, html, notify_on_error, page
from web.transport.connection import api

MESSAGES = 10  # of each webhook that are listed
REFRESH_SECONDS = 3.0


@page("/webhooks", "Webhooks")
async def show() -> None:
    panel = WebhookPanel(api())
    await panel.build()
    ui.timer(REFRESH_SECONDS, notify_on_error(panel.draw), immediate=False)


class WebhookPanel:
    """The form, and below it the webhooks, which are drawn anew when they or their messages change."""

    def __init__(self, connection: AsyncClient) -> None:
        self.webhooks = connection.webhooks
        self.drawn: list[tuple[Webhook, list[Delivery]]] = []

    async def build(self) -> None:
        html("webhooks_title")
        with (
            ui.element("div")
            .classes("card")
            .style("display: grid; gap: 12px; grid-template-columns: minmax(0, 1fr)")
        ):
            self.url = ui.input("Address", placeholder="https://…").props("outlined dense stack-label")
            events = [event.value for event in WebhookEvent]
            self.events = ui.select(events, value=events, label="Events", multiple=True)
            self.events.props('outlined dense options-dense behavior=menu aria-label="Events"')
            button("Create webhook", self.create).style("justify-self: start")
        self.secret = ui.element("div").props("aria-live=polite")
        self.holder = ui.element("div")
        await self.draw()

    async def draw(self) -> None:
        entries = [
            (webhook, await first(self.webhooks.deliveries(webhook.id, limit=MESSAGES), MESSAGES))
            async for webhook in self.webhooks.list()
        ]
        if entries == self.drawn:  # else the focus would be lost
            return
        self.drawn = entries
        self.holder.clear()
        for webhook, messages in entries:
            with self.holder, ui.element("div").classes("card"):
                html("webhook", webhook=webhook, messages=messages)
                self._button("Send a test", partial(self.webhooks.test, webhook.id))
                for row in messages:
                    with ui.element("div").classes("actions"):
                        html("delivery", row=row)
                        self._button("Send again", partial(self.webhooks.replay, webhook.id, row.id))

    def _button(self, text: str, operation: Callable[[], Awaitable[object]]) -> None:
        @notify_on_error
        async def run() -> None:
            await operation()
            await self.draw()

        button(text, run, "second")

    @notify_on_error
    async def create(self) -> None:
        webhook = await self.webhooks.create(self.url.value.strip(), self.events.value)
        self.url.value = ""
        self.secret.clear()
        with self.secret:
            html("webhook_secret", webhook=webhook)
        await self.draw()
