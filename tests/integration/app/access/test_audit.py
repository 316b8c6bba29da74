"""Who did what: one entry for each change, none for anything else, for admins, for as long as is set."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.auth import audit
from core.session import db_now
from core.sweep import sweep
from core.tables import AuditRow
from tests.integration.app.conftest import DIGITS, ROOT, Front


def entries(front: Front, **filters: Any) -> list[dict[str, Any]]:
    page = front.client.get("/audit", params=filters, headers=ROOT)
    assert page.status_code == 200, page.text
    listed: list[dict[str, Any]] = page.json()["data"]
    return listed


def actions(front: Front, **filters: Any) -> list[str]:
    return [entry["action"] for entry in entries(front, **filters)]


def make_key(front: Front, *scopes: str) -> tuple[str, dict[str, str]]:
    """A key's id, and the header with its secret."""
    body = {"name": "line 1", "owner": " alice@example.org ", "scopes": scopes}
    created_key = front.client.post("/keys", json=body, headers=ROOT).json()
    return created_key["id"], {"X-API-Key": created_key["secret"]}


def test_a_change_says_who_made_it_to_what_and_from_where(guarded: Front) -> None:
    key, own = make_key(guarded, "train", "read")
    job = guarded.job()
    edited = guarded.client.patch(f"/jobs/{job}", json={"name": "n"}, headers=own | {"X-Request-ID": "r-1"})
    assert edited.status_code == 200
    last, first = entries(guarded)
    assert last.pop("id").startswith("aud_")
    assert last.pop("created_at") >= first["created_at"]
    assert last == {
        "actor": key,
        "actor_name": "line 1",
        "action": "edit_job",
        "object": job,
        "status": 200,
        "request_id": "r-1",
        "address": "testclient",
    }
    assert (first["actor"], first["actor_name"]) == ("operator", None)
    assert (first["action"], first["object"], first["status"]) == ("create_key", key, 201)


def test_what_is_created_is_the_object(front: Front) -> None:
    dataset = front.client.post("/datasets", json=DIGITS).json()["id"]
    job = front.client.post("/jobs/erm", json={"dataset": front.dataset()}).json()["id"]
    assert [(e["actor"], e["action"], e["object"]) for e in entries(front)] == [
        ("anyone", "start_erm", job),
        ("anyone", "create_dataset", dataset),
    ]


def test_every_operation_that_changes_something_names_it(front: Front) -> None:
    """In its path or as its location, without which there is no entry."""
    nameless = set()
    for path, operations in front.client.get("/openapi.json").json()["paths"].items():
        for method in operations.keys() & {"post", "put", "patch", "delete"}:
            answers = operations[method]["responses"]
            created = [answer for status, answer in answers.items() if status in ("201", "202")]
            located = created and all("Location" in answer["headers"] for answer in created)
            if "{" not in path and not located:
                nameless.add(operations[method]["operationId"])
    assert nameless == {"predict_images", "explain_images", "claim_review"}


def test_what_changes_nothing_has_no_entry(guarded: Front) -> None:
    _, own = make_key(guarded, "read", "predict")
    dataset, client = guarded.dataset(), guarded.client
    assert client.get("/jobs", headers=own).status_code == 200
    assert client.delete(f"/datasets/{dataset}", headers=own).status_code == 403
    assert client.delete(f"/datasets/{dataset}").status_code == 401
    assert client.delete("/aliases/none", headers=ROOT).status_code == 404
    plan = client.post("/jobs/erm?dry_run=true", json={"dataset": dataset}, headers=ROOT)
    assert plan.status_code == 200
    once, body = ROOT | {"Idempotency-Key": "k"}, {"dataset": dataset}
    assert [client.post("/jobs/erm", json=body, headers=once).status_code for _ in range(2)] == [202, 202]
    assert actions(guarded) == ["start_erm", "create_key"]


def test_entries_are_filtered_and_paged(guarded: Front) -> None:
    key, own = make_key(guarded, "train", "read")
    first, second = guarded.job(), guarded.job()
    for job in (first, second, first):
        guarded.client.patch(f"/jobs/{job}", json={"name": "n"}, headers=own)
    guarded.client.delete(f"/keys/{key}", headers=ROOT)
    assert actions(guarded, actor="operator") == ["revoke_key", "create_key"]
    assert [entry["object"] for entry in entries(guarded, action="edit_job")] == [first, second, first]
    assert actions(guarded, object=key) == ["revoke_key", "create_key"]
    assert entries(guarded, object=second, created_before="2001-01-01T00:00:00Z") == []
    assert actions(guarded, object=second, created_after="2001-01-01T00:00:00Z") == ["edit_job"]
    page = guarded.client.get("/audit", params={"limit": 3}, headers=ROOT).json()
    rest = entries(guarded, cursor=page["next_cursor"])
    assert page["data"] + rest == entries(guarded)
    assert len(rest) == 2


def test_an_alias_says_who_moved_it(guarded: Front) -> None:
    key, own = make_key(guarded, "admin")
    first, second = (guarded.model(None) for _ in range(2))
    guarded.client.put("/aliases/best", json={"model": first}, headers=ROOT)
    guarded.client.put("/aliases/best", json={"model": second}, headers=own)
    back = guarded.client.post("/aliases/best/rollback", headers=own).json()
    assert [(move["model"], move["created_by"]) for move in back["history"]] == [
        (first, key),
        (second, key),
        (first, None),
    ]
    assert actions(guarded, object="best") == ["roll_back_alias", "set_alias", "set_alias"]


def test_a_key_has_an_owner_on_one_line(guarded: Front) -> None:
    key, _ = make_key(guarded, "read")
    assert guarded.client.get(f"/keys/{key}", headers=ROOT).json()["owner"] == "alice@example.org"
    for owner in ("a\nb", "\u202eb", "", "x" * 101):
        body = {"name": "a", "owner": owner, "scopes": ["read"]}
        refused = guarded.client.post("/keys", json=body, headers=ROOT)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/owner")


def test_the_sweep_deletes_what_is_older_than_is_set_and_nothing_else(guarded: Front) -> None:
    make_key(guarded, "read")
    make_key(guarded, "read")
    old, _ = entries(guarded)
    database, settings = guarded.services.database, guarded.settings
    with database.begin() as session:
        aged = db_now() - settings.audit_days * 86_400 - 60
        session.execute(update(AuditRow).where(AuditRow.id == old["id"]).values(created_at=aged))
    sweep(database, settings)
    assert old["id"] not in [entry["id"] for entry in entries(guarded)]
    assert len(entries(guarded)) == 1


def test_a_change_that_could_not_be_recorded_is_in_the_log(
    front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OperationalError("INSERT", {}, Exception("disk is full"))

    monkeypatch.setattr(audit, "_add", full)
    job = front.job()
    assert front.client.patch(f"/jobs/{job}", json={"name": "n"}).status_code == 200
    assert f"edit_job {job} by anyone from testclient" in caplog.text
