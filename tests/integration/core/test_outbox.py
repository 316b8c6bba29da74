"""Messages to webhooks are committed with their events or not at all, and are bounded, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, null, select, update
from sqlalchemy.orm import Session

from core.queries import datasets, jobs, leases, webhooks
from core.session import Database, db_now
from core.sweep import DAY, close_imports
from core.tables import DeliveryRow, JobRow, WebhookRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import DatasetState, JobKind, JobState, Stage, WebhookEvent
from tests.integration.core import queue
from tests.integration.core.locks import while_it_waits
from tests.integration.core.plans import copy_row, record_plans
from tests.support.rows import dataset_row


def webhook(database: Database, *events: WebhookEvent) -> str:
    """Add one that listens to these events, or to all."""
    row = WebhookRow(id=new_id("whk"), url="https://a", events=list(events or WebhookEvent), secret="whsec_")
    with database.begin() as session:
        return webhooks.add(session, row).id


def messages(database: Database) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of each message, in the order of their events."""
    with database.read() as session:
        rows = session.scalars(select(DeliveryRow).order_by(DeliveryRow.id))
        return [(row.type, row.data) for row in rows]


def types(database: Database) -> list[str]:
    return [type for type, _ in messages(database)]


def publish(session: Session) -> None:
    webhooks.publish(session, WebhookEvent.JOB_FAILED, {"id": "j"})


def test_a_job_that_ends_says_how_and_no_file(database: Database) -> None:
    webhook(database)
    job_id = queue.add(database, name="mine", dataset_id="ds_1")
    lease = queue.claim(database)
    error = {"reason": "bad_image", "detail": "patient-7.png"}
    with database.begin() as session:
        leases.end(session, lease, JobState.FAILED, error=error)
    facts = {"url": f"/jobs/{job_id}", "kind": "erm", "name": "mine", "dataset": "ds_1", "verdict": None}
    failed = {"id": job_id, "state": "failed", "reason": "bad_image"} | facts
    assert messages(database) == [("job.failed", failed)]

    verdict = {"verdict": "helped", "a": "masktune", "b": "erm"}
    with database.begin() as session:
        jobs.resume(session, job_id)
    lease = queue.claim(database)
    with database.begin() as session:
        leases.finish_stage(session, lease, Stage.EVALUATE, {"verdict": verdict})
        leases.end(session, lease, JobState.SUCCEEDED)
    succeeded = failed | {"state": "succeeded", "reason": None, "verdict": verdict}
    assert messages(database)[1:] == [("job.succeeded", succeeded)]


def test_a_job_that_is_cancelled_or_given_up_says_so_too(database: Database) -> None:
    webhook(database)
    job_id = queue.add(database)
    with database.begin() as session:
        jobs.cancel(session, job_id)
    queue.add(database)
    queue.claim(database, lease_seconds=-1)
    queue.sweep(database, max_attempts=1)
    assert types(database) == ["job.cancelled", "job.failed"]


@pytest.mark.parametrize("ready", [True, False])
def test_an_import_says_whether_the_data_set_is_ready(database: Database, ready: bool) -> None:
    webhook(database, WebhookEvent.DATASET_READY, WebhookEvent.DATASET_INVALID)
    row = dataset_row(state=DatasetState.IMPORTING)
    with database.begin() as session:
        datasets.add(session, row)
        datasets.finish(session, row.id, artifact=None, classes=[], summary={}, ready=ready)
    state = "ready" if ready else "invalid"
    data = {"id": row.id, "url": f"/datasets/{row.id}", "name": "pictures", "state": state}
    assert messages(database) == [(f"dataset.{state}", data)]


def test_an_import_that_was_cancelled_makes_its_data_set_invalid(database: Database) -> None:
    webhook(database)
    with database.begin() as session:
        job = jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.IMPORT, params={}))
        datasets.add(session, dataset_row(state=DatasetState.IMPORTING, job_id=job.id))
        jobs.cancel(session, job.id)
        close_imports(session)
        close_imports(session)
    assert types(database) == ["job.cancelled", "dataset.invalid"]


def test_an_event_that_is_rolled_back_leaves_no_message(database: Database) -> None:
    webhook(database)
    job_id = queue.add(database)

    def fail() -> None:
        with database.begin() as session:
            jobs.cancel(session, job_id)
            assert session.scalar(select(DeliveryRow.type)) == "job.cancelled"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert messages(database) == []


def test_only_webhooks_that_listen_and_are_enabled_get_messages(database: Database) -> None:
    webhook(database, WebhookEvent.MODEL_DRIFTED)
    disabled = webhook(database)
    with database.begin() as session:
        webhooks.disable(session, webhooks.get(session, disabled), "no longer needed")
        publish(session)
    assert messages(database) == []


def test_to_disable_one_gives_up_what_waits_and_a_replay_sends_it_after_all(database: Database) -> None:
    first, second = webhook(database), webhook(database)
    with database.begin() as session:
        publish(session)
        webhooks.disable(session, webhooks.get(session, first), "no longer needed")
        assert webhooks.due(session) == [second]
        (delivery_id,) = session.scalars(select(DeliveryRow.id).where(DeliveryRow.webhook_id == first))
        row = webhooks.replay(session, webhooks.get(session, first), delivery_id)
        assert (row.given_up_at, row.attempts) == (None, 0)
        assert sorted(webhooks.due(session)) == sorted([first, second])


def test_of_too_many_messages_the_oldest_are_given_up(database: Database) -> None:
    webhook_id = webhook(database)
    with database.begin() as session:
        now = session.execute(select(db_now())).scalar_one()
        row = {"webhook_id": webhook_id, "type": "job.failed", "data": {}, "next_attempt_at": now + 60}
        session.execute(
            insert(DeliveryRow),
            [
                row | {"id": f"msg_{number:04}", "created_at": now - 10_000 + number}
                for number in range(webhooks.MOST_WAITING + 2)
            ],
        )
    with database.begin() as session:
        assert webhooks.claim(session, webhook_id) is None
        given_up = select(DeliveryRow.id).where(DeliveryRow.given_up_at.is_not(None))
        assert sorted(session.scalars(given_up)) == ["msg_0000", "msg_0001"]
        assert webhooks.count_waiting(session) == webhooks.MOST_WAITING


def test_old_messages_are_forgotten_but_not_those_that_wait(database: Database) -> None:
    webhook_id = webhook(database)
    with database.begin() as session:
        for number, waits in enumerate((True, False, False)):
            row = {"type": "job.failed", "data": {}, "created_at": db_now() - (40 - 20 * (number == 2)) * DAY}
            row |= {"next_attempt_at": db_now() if waits else null()}
            session.add(DeliveryRow(id=f"msg_{number}", webhook_id=webhook_id, **row))
    with database.begin() as session:
        assert webhooks.purge(session, older_than=30 * DAY, span=DAY) == 1
    with database.read() as session:
        assert sorted(session.scalars(select(DeliveryRow.id))) == ["msg_0", "msg_2"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_webhook_that_is_being_deleted_fails_no_event(database: Database) -> None:
    deleted, job_id = webhook(database), queue.add(database)

    def delete(session: Session) -> None:
        session.delete(webhooks.get(session, deleted, lock=True))
        session.flush()

    while_it_waits(database, delete, lambda session: jobs.cancel(session, job_id)).result()
    assert queue.job(database, job_id).state is JobState.CANCELLED
    assert messages(database) == []
    # And the other way round: the deletion takes the message along.
    deleted, job_id = webhook(database), queue.add(database)
    while_it_waits(database, lambda session: jobs.cancel(session, job_id), delete).result()
    assert queue.job(database, job_id).state is JobState.CANCELLED
    assert messages(database) == []


def test_messages_that_are_due_are_looked_up_among_many_that_were_delivered(database: Database) -> None:
    webhook_id = webhook(database)
    with database.begin() as session:
        publish(session)
    with database.begin() as session:
        session.execute(update(DeliveryRow).values(next_attempt_at=None, delivered_at=db_now()))
    copy_row(database, "deliveries")
    plans = record_plans(database)
    with database.begin() as session:
        assert webhooks.due(session) == []
        assert webhooks.claim(session, webhook_id) is None
    assert ["deliveries_next" in plan for plan in plans] == [True, True]
