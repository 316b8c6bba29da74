"""`/webhooks`: created with a secret that is told once, changed, tested, replayed, and refused if wrong."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest
import standardwebhooks
from sqlalchemy import select

from app.webhooks import service
from core.tables import DeliveryRow, IdempotencyRow, WebhookRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import WebhookEvent
from tests.integration.app.conftest import ROOT, Front, StartFront, pages
from tests.support.receiver import Receiver, receiver
from tests.support.waits import wait_until

BODY: dict[str, Any] = {"url": "http://127.0.0.1:9/hook", "events": ["job.failed"], "description": "chat"}


@pytest.fixture
def front(start: StartFront) -> Front:
    front = start(api_keys="admin:root", webhook_allowed_hosts="127.0.0.1")
    front.client.headers.update(ROOT)
    return front


def create(front: Front, **fields: Any) -> dict[str, Any]:
    answer = front.client.post("/webhooks", json=BODY | fields)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def arrived(front: Front, hook: Receiver, number: int) -> dict[str, Any]:
    """The newest delivery to the only webhook, once so many messages have arrived and are recorded."""
    (webhook,) = pages(front.client, "/webhooks")

    def newest() -> dict[str, Any]:
        return pages(front.client, f"/webhooks/{webhook['id']}/deliveries")[0]

    wait_until(lambda: len(hook.messages) == number and newest()["delivered_at"] is not None)
    return newest()


def test_the_secret_is_told_once(front: Front) -> None:
    answer = front.client.post("/webhooks", json=BODY, headers={"Idempotency-Key": "k"})
    created = answer.json()
    secret = created.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert answer.headers["Location"] == f"/webhooks/{created['id']}"
    assert answer.headers["Cache-Control"] == "no-store"
    again = front.client.post("/webhooks", json=BODY, headers={"Idempotency-Key": "k"})
    assert again.json() == created | {"secret": None}
    assert front.client.get(f"/webhooks/{created['id']}").json() == created
    assert pages(front.client, "/webhooks") == [created]
    with front.services.database.read() as session:
        (stored,) = session.scalars(select(IdempotencyRow.body))
    assert stored is not None
    assert secret.encode() not in stored
    assert created == BODY | {
        "id": created["id"],
        "created_by": None,
        "created_at": created["created_at"],
        "disabled_at": None,
        "disabled_reason": None,
    }


def test_a_job_that_ends_is_told_and_signed(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with receiver() as hook:
        created = create(front, url=f"{hook.url}?token=t0ken", events=[*WebhookEvent])
        job = front.job()
        front.end(front.claim())
        row = arrived(front, hook, 1)
        (message,) = hook.messages
        sent = standardwebhooks.Webhook(created["secret"]).verify(message.body, dict(message.headers))
        assert sent == {"type": "job.succeeded", "timestamp": row["created_at"], "data": row["data"]}
        assert (sent["data"]["id"], sent["data"]["url"]) == (job, f"/jobs/{job}")
        assert (row["id"], row["attempts"], row["last_status"]) == (hook.ids[0], 1, 204)
        text = front.client.get("/metrics").text
        assert 'masktune_webhook_attempts_total{outcome="delivered"} 1.0' in text
        assert "masktune_webhook_messages_waiting 0.0" in text
    assert created["secret"] not in caplog.text
    assert "t0ken" not in caplog.text


def test_a_test_message_and_a_replay_arrive_with_their_id(front: Front) -> None:
    with receiver() as hook:
        created = create(front, url=hook.url)
        test = front.client.post(f"/webhooks/{created['id']}/test")
        assert (test.status_code, test.json()["type"]) == (202, "webhook.test")
        arrived(front, hook, 1)
        replayed = front.client.post(f"/webhooks/{created['id']}/deliveries/{test.json()['id']}/replay")
        assert (replayed.status_code, replayed.json()["delivered_at"]) == (202, None)
        arrived(front, hook, 2)
        assert hook.ids == [test.json()["id"]] * 2
        assert json.loads(hook.messages[0].body)["type"] == "webhook.test"


def test_a_rotated_secret_leaves_the_old_one_a_day(front: Front) -> None:
    with receiver() as hook:
        created = create(front, url=hook.url)
        rotated = front.client.post(f"/webhooks/{created['id']}/rotate")
        assert rotated.headers["Cache-Control"] == "no-store"
        assert rotated.json() == created | {"secret": rotated.json()["secret"]}
        front.client.post(f"/webhooks/{created['id']}/test")
        arrived(front, hook, 1)
        for secret in {created["secret"], rotated.json()["secret"]}:
            standardwebhooks.Webhook(secret).verify(hook.messages[0].body, dict(hook.messages[0].headers))
    assert created["secret"] != rotated.json()["secret"]
    with front.services.database.read() as session:
        (row,) = session.scalars(select(WebhookRow))
        assert row.old_secret_until is not None
        assert row.old_secret_until - row.created_at == pytest.approx(service.ROTATION_SECONDS, abs=600)


def test_changes(front: Front) -> None:
    created = create(front)
    path = f"/webhooks/{created.pop('id')}"
    changes = {"url": "http://127.0.0.1:9/other", "events": ["model.drifted"], "description": None}
    changed = front.client.patch(path, json=changes).json()
    assert changes.items() <= changed.items()
    assert front.client.patch(path, json={}).json() == changed
    disabled = front.client.patch(path, json={"enabled": False}).json()
    assert (disabled["disabled_at"] is None, disabled["disabled_reason"]) == (False, "an admin disabled it")
    assert front.client.post(f"{path}/test").status_code == 409
    enabled = front.client.patch(path, json={"enabled": True}).json()
    assert enabled == changed
    delivery = front.client.post(f"{path}/test").json()["id"]
    front.client.patch(path, json={"enabled": False})
    assert front.client.post(f"{path}/deliveries/{delivery}/replay").status_code == 409
    assert front.client.delete(path).status_code == 204
    assert front.client.get(path).status_code == front.client.get(f"{path}/deliveries").status_code == 404
    with front.services.database.read() as session:
        assert session.scalars(select(DeliveryRow)).all() == []
    actions = [entry["action"] for entry in front.client.get("/audit").json()["data"]]
    assert actions[:2] == ["delete_webhook", "edit_webhook"]
    assert actions[-1] == "create_webhook"


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"url": "http://10.0.0.1/"}, "/url", "not-allowed"),
        ({"url": "https://127.0.0.2/"}, "/url", "not-allowed"),
        ({"url": f"https://{'a' * 64}.example/"}, "/url", "unknown-host"),
        ({"url": "ftp://127.0.0.1/"}, "/url", "invalid-address"),
        ({"url": "https://127.0.0.1/" + "a" * 2000}, "/url", "string-too-long"),
        ({"url": "https://127.0.0.1/\n"}, "/url", "string-pattern-mismatch"),
        ({"url": None}, "/url", "string-type"),
        ({"events": []}, "/events", "too-short"),
        ({"events": ["job.started"]}, "/events/0", "enum"),
        ({"events": ["webhook.test"]}, "/events/0", "enum"),
        ({"events": "job.failed"}, "/events", "list-type"),
        ({"description": " "}, "/description", "string-pattern-mismatch"),
        ({"secret": "whsec_mine"}, "/secret", "unknown-field"),
    ],
)
def test_bad_input_is_refused_at_creation_and_at_a_change(
    front: Front, fields: dict[str, Any], pointer: str, code: str
) -> None:
    path = f"/webhooks/{create(front)['id']}"
    for answer in (front.client.post("/webhooks", json=BODY | fields), front.client.patch(path, json=fields)):
        assert answer.status_code == 422, answer.text
        (error,) = answer.json()["errors"]
        assert (error["pointer"], error["code"]) == (pointer, code)
    assert len(pages(front.client, "/webhooks")) == 1


def test_what_is_not_there_is_not_found(front: Front) -> None:
    webhook, other = create(front)["id"], create(front)["id"]
    delivery = front.client.post(f"/webhooks/{other}/test").json()["id"]
    for path in (new_id("whk"), "whk_1", f"{webhook}x"):
        assert front.client.get(f"/webhooks/{path}").status_code == 404
        assert front.client.patch(f"/webhooks/{path}", json={}).status_code == 404
        assert front.client.delete(f"/webhooks/{path}").status_code == 404
        assert front.client.post(f"/webhooks/{path}/rotate").status_code == 404
        assert front.client.post(f"/webhooks/{path}/test").status_code == 404
        assert front.client.get(f"/webhooks/{path}/deliveries").status_code == 404
    for message in (delivery, new_id("msg"), "msg_1"):
        answer = front.client.post(f"/webhooks/{webhook}/deliveries/{message}/replay")
        assert answer.status_code == 404, "of another webhook, or none"


def test_there_is_a_limit(front: Front) -> None:
    for _ in range(service.MOST):
        create(front)
    assert front.client.post("/webhooks", json=BODY).status_code == 409
    assert len(pages(front.client, "/webhooks", limit=7)) == service.MOST
