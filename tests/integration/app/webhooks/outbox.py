"""An outbox with messages for jobs that succeed, and senders that empty it."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter
from sqlalchemy import select, update

from app.webhooks.destinations import Destinations, resolve
from app.webhooks.sender import Sender
from core.queries import webhooks
from core.session import Database, db_now
from core.tables import DeliveryRow, WebhookRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import WebhookEvent
from tests.support.waits import wait_until

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


@contextmanager
def sending(
    database: Database,
    *,
    allowed: str = "127.0.0.1",
    timeout: float = 15.0,
    lookup_timeout: float = 15.0,
    resolve: Callable[[str], Sequence[str]] = resolve,
) -> Iterator[Counter]:
    """Run a sender while the block runs; its counter of attempts."""
    attempts = Counter("attempts", "", ("outcome",), registry=CollectorRegistry())
    destinations = Destinations(allowed, resolve)
    sender = Sender(database, destinations, attempts, timeout, lookup_timeout, poll_seconds=0.02)
    loop = asyncio.new_event_loop()
    task = loop.create_task(sender.run())

    def run() -> None:
        with closing(loop):
            loop.run_until_complete(asyncio.wait([task]))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield attempts
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
    assert task.cancelled(), task.exception()


def add(database: Database, url: str, **fields: Any) -> str:
    """Add a webhook for jobs that succeed."""
    row = WebhookRow(id=new_id("whk"), url=url, **{"events": ["job.succeeded"], "secret": SECRET} | fields)
    with database.begin() as session:
        return webhooks.add(session, row).id


def publish(database: Database, number: int = 1) -> None:
    with database.begin() as session:
        webhooks.publish(session, WebhookEvent.JOB_SUCCEEDED, {"name": f"×{number}"})


def deliveries(database: Database) -> list[DeliveryRow]:
    with database.read() as session:
        return list(session.scalars(select(DeliveryRow).order_by(DeliveryRow.id)))


def delivery(database: Database) -> DeliveryRow:
    (row,) = deliveries(database)
    return row


def wait_for(database: Database, condition: Callable[[DeliveryRow], object]) -> DeliveryRow:
    """The only message, once the condition holds."""
    wait_until(lambda: bool(condition(delivery(database))), lambda: str(vars(delivery(database))))
    return delivery(database)


def is_attempt(number: int) -> Callable[[DeliveryRow], bool]:
    """Whether this attempt has failed, if `change` has cleared the error of the one before."""
    return lambda row: row.attempts == number and row.last_error is not None


def change(database: Database, **values: Any) -> None:
    """Set these columns of all messages, and clear their errors."""
    with database.begin() as session:
        session.execute(update(DeliveryRow).values(last_error=None, **values))


def wait_seconds(database: Database) -> float:
    """Seconds from now until the next attempt."""
    with database.read() as session:
        now, next_attempt_at = session.execute(select(db_now(), DeliveryRow.next_attempt_at)).one()
    assert next_attempt_at is not None
    return next_attempt_at - now
