"""What becomes of a webhook's messages: signed, sent once, again if they fail, or given up."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
import standardwebhooks
from sqlalchemy import select

from app.webhooks.sender import HOUR, WAITS
from core.queries import webhooks
from core.session import Database, db_now
from core.tables import DeliveryRow, WebhookRow
from tests.integration.app.webhooks.outbox import (
    SECRET,
    add,
    change,
    deliveries,
    delivery,
    is_attempt,
    publish,
    sending,
    wait_for,
    wait_seconds,
)
from tests.support.receiver import HANG, Receiver, receiver
from tests.support.waits import wait_until

OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as receiving:
        yield receiving


def test_a_message_is_signed_as_the_standards_own_library_verifies(
    database: Database, hook: Receiver
) -> None:
    add(database, hook.url)
    publish(database)
    with sending(database):
        row = wait_for(database, lambda row: row.delivered_at)
    (message,) = hook.messages
    sent = standardwebhooks.Webhook(SECRET).verify(message.body, dict(message.headers))
    assert (sent["type"], sent["data"], set(sent)) == (
        "job.succeeded",
        {"name": "×1"},
        {"type", "timestamp", "data"},
    )
    assert datetime.fromisoformat(sent["timestamp"]).timestamp() == pytest.approx(row.created_at, abs=0.001)
    assert (message.headers["host"], message.path) == (f"127.0.0.1:{hook.port}", "/hook")
    assert message.headers["content-type"] == "application/json"
    assert (row.id, row.last_status, row.attempts, row.next_attempt_at) == (hook.ids[0], 204, 1, None)


@pytest.mark.parametrize(("age", "both"), [(-60.0, True), (60.0, False)])
def test_the_secret_before_signs_for_a_day(
    database: Database, hook: Receiver, age: float, both: bool
) -> None:
    add(database, hook.url, old_secret=OLD, old_secret_until=time.time() - age)
    publish(database)
    with sending(database):
        wait_for(database, lambda row: row.delivered_at)
    (message,) = hook.messages
    standardwebhooks.Webhook(SECRET).verify(message.body, dict(message.headers))
    if both:
        standardwebhooks.Webhook(OLD).verify(message.body, dict(message.headers))
    else:
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(OLD).verify(message.body, dict(message.headers))


def test_a_receiver_that_fails_gets_the_same_message_again(database: Database, hook: Receiver) -> None:
    hook.answers = [500, 404]
    add(database, hook.url)
    publish(database)
    with sending(database) as attempts:
        for attempt, (status, wait) in enumerate(zip((500, 404), WAITS[:2], strict=True), 1):
            row = wait_for(database, is_attempt(attempt))
            assert row.last_error == f"the answer was {status}"
            assert wait - 4 <= wait_seconds(database) <= wait * 1.1
            change(database, next_attempt_at=db_now())
        row = wait_for(database, lambda row: row.delivered_at)
    assert (hook.ids, row.attempts, row.last_error) == ([row.id] * 3, 3, None)
    assert hook.messages[0].body == hook.messages[2].body
    assert attempts.labels("failed")._value.get() == 2
    assert attempts.labels("delivered")._value.get() == 1


def test_one_that_is_down_for_an_hour_gets_the_message_when_it_is_back(database: Database) -> None:
    with receiver() as gone:
        add(database, gone.url)
    publish(database)
    with sending(database):
        for attempt, wait in enumerate(WAITS[:3], 1):
            row = wait_for(database, is_attempt(attempt))
            assert str(row.last_error).startswith("no answer: ")
            if attempt < 3:
                change(database, next_attempt_at=DeliveryRow.next_attempt_at - 1.1 * wait)
        with receiver(port=gone.port) as back:
            change(database, next_attempt_at=DeliveryRow.next_attempt_at - 1.1 * WAITS[2])
            row = wait_for(database, lambda row: row.delivered_at)
            assert (back.ids, row.attempts) == ([row.id], 4)


def test_one_that_hangs_is_left_and_delays_no_other(database: Database, hook: Receiver) -> None:
    hook.answers = [HANG]
    with receiver() as other:
        hanging = add(database, hook.url)
        add(database, other.url)
        publish(database)
        with sending(database, timeout=3.0):
            wait_until(lambda: len(other.ids) == 1)
            publish(database)
            wait_until(lambda: len(other.ids) == 2 and len(hook.ids) == 2)

            def hung() -> DeliveryRow:
                return next(row for row in deliveries(database) if row.webhook_id == hanging)

            wait_until(lambda: hung().last_error is not None)
    assert hung().last_error == "no answer within 3 s"
    assert hung().next_attempt_at is not None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(database: Database, hook: Receiver, status: int) -> None:
    with receiver() as inside:
        hook.answers, hook.answer_headers = [status], {"Location": inside.url}
        add(database, hook.url)
        publish(database)
        with sending(database):
            row = wait_for(database, lambda row: row.last_status)
        assert row.last_error == f"the answer was {status}: redirects are not followed"
        assert inside.messages == []


def test_a_large_answer_is_not_read(database: Database, hook: Receiver) -> None:
    hook.answers, hook.answer_body = [200], b"x" * 2**26
    add(database, hook.url)
    publish(database)
    with sending(database):
        wait_for(database, lambda row: row.delivered_at)


@pytest.mark.parametrize(
    ("status", "text", "least", "most"),
    [
        (429, "7200", 7200, 7200),
        (503, "99999999", 24 * HOUR, 24 * HOUR),
        (503, "soon", 5, 6),
        (500, "7200", 5, 6),
    ],
)
def test_a_busy_receiver_may_ask_for_a_day_at_most(
    database: Database, hook: Receiver, status: int, text: str, least: float, most: float
) -> None:
    hook.answers, hook.answer_headers = [status], {"Retry-After": text}
    add(database, hook.url)
    publish(database)
    with sending(database):
        wait_for(database, lambda row: row.last_status)
    assert least - 60 <= wait_seconds(database) <= most


def test_it_is_given_up_after_the_last_attempt(database: Database, hook: Receiver) -> None:
    hook.answers = [500, 500]
    add(database, hook.url)
    publish(database)
    change(database, attempts=len(WAITS) - 1)
    with sending(database) as attempts:
        wait_for(database, lambda row: row.last_status)
        assert wait_seconds(database) > 24 * HOUR - 60
        change(database, next_attempt_at=db_now())
        row = wait_for(database, lambda row: row.given_up_at)
    assert (row.attempts, row.next_attempt_at, len(hook.ids)) == (10, None, 2)
    assert attempts.labels("given_up")._value.get() == 1


def test_gone_disables_the_webhook(database: Database, hook: Receiver) -> None:
    hook.answers = [410]
    add(database, hook.url)
    publish(database, 1)
    publish(database, 2)
    with sending(database):
        wait_until(lambda: all(row.given_up_at for row in deliveries(database)))
    publish(database, 3)
    assert len(deliveries(database)) == 2
    with database.read() as session:
        (row,) = session.scalars(select(WebhookRow))
    assert row.disabled_reason == "the receiver answered 410 Gone"
    assert len(hook.ids) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_two_senders_send_each_message_once(database: Database, hook: Receiver) -> None:
    add(database, hook.url)
    for number in range(20):
        publish(database, number)
    with sending(database), sending(database):
        wait_until(lambda: all(row.delivered_at for row in deliveries(database)))
    assert sorted(hook.ids) == [row.id for row in deliveries(database)]


def test_a_message_whose_sender_died_is_sent_when_its_lease_has_ended(
    database: Database, hook: Receiver
) -> None:
    webhook_id = add(database, hook.url)
    publish(database)
    with database.begin() as session:
        claimed = webhooks.claim(session, webhook_id)
        assert claimed is not None
        assert webhooks.claim(session, webhook_id) is None
    with sending(database):
        change(database, next_attempt_at=DeliveryRow.next_attempt_at - webhooks.LEASE_SECONDS)
        row = wait_for(database, lambda row: row.delivered_at)
    assert (hook.ids, row.attempts) == ([row.id], 2)
    with database.begin() as session:  # the first one wakes up
        webhooks.settle(session, claimed[1], status=500, error="late", wait=5.0)
    assert (delivery(database).last_error, delivery(database).next_attempt_at) == (None, None)
