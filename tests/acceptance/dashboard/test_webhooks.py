"""Webhooks in the dashboard: the secret is shown once, messages with what became of them, and sent again."""

from __future__ import annotations

import pytest
import standardwebhooks
from playwright.sync_api import expect

from masktune import Client
from masktune.contract.vocabulary import WebhookEvent
from tests.acceptance.dashboard.visitor import Visitor
from tests.support.receiver import receiver

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_webhook_is_created_tested_and_its_message_sent_again(visitor: Visitor) -> None:
    page = visitor.page
    with receiver() as hook, Client(visitor.url) as client:
        hook.answers = [204, 500]
        visitor.goto("/ui/webhooks")
        visitor.fill("Address", "http://10.0.0.1/")
        visitor.button("Create webhook").click()
        expect(page.get_by_text("the host 10.0.0.1 is not public")).to_be_visible()
        visitor.fill("Address", hook.url)
        page.get_by_role("combobox", name="Events").click()
        for event in WebhookEvent:  # not those of jobs that other tests run meanwhile
            if event is not WebhookEvent.MODEL_DRIFTED:
                page.get_by_role("option", name=event, exact=True).click()
        page.keyboard.press("Escape")
        visitor.button("Create webhook").click()
        secret = page.locator(".callout code").text_content()
        expect(page.get_by_text("No messages yet.")).to_be_visible()
        (webhook,) = client.webhooks.list()
        assert (webhook.url, webhook.events) == (hook.url, ["model.drifted"])

        visitor.button("Send a test").click()
        expect(visitor.badge("delivered")).to_be_visible()
        assert secret is not None
        standardwebhooks.Webhook(secret).verify(hook.messages[0].body, dict(hook.messages[0].headers))
        visitor.looked_at("webhooks")
        visitor.button("Send again").click()
        expect(visitor.badge("waiting")).to_be_visible()
        expect(page.get_by_text("the answer was 500")).to_be_visible()
        assert hook.ids == [hook.ids[0]] * 2

        page.reload()
        expect(page.get_by_text("the answer was 500")).to_be_visible()
        expect(page.get_by_text(secret)).to_have_count(0)
        client.webhooks.delete(webhook.id)
