"""Keys that an admin makes, what each of them may do how often, and how many jobs it may have."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.auth import service as keys
from app.auth.keyring import digest_of
from core.queries import jobs
from core.settings import Settings
from core.tables import IdempotencyRow, JobRow, KeyRow
from masktune.contract.ids import new_id
from tests.integration.app.conftest import DIGITS, ROOT, Front, StartFront, pages, running
from tests.support.brokers import redis_server


def make(front: Front, *scopes: str, name: str = "line 1", **headers: str) -> Any:
    return front.client.post("/keys", json={"name": name, "scopes": scopes}, headers=ROOT | headers)


def bearer(made: Any) -> dict[str, str]:
    """The header of a key that was made just now."""
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['secret']}"}


def test_a_key_opens_until_it_is_revoked(guarded: Front) -> None:
    made = make(guarded, "train", "read", "read")
    body, own = made.json(), bearer(made)
    assert (body["name"], body["scopes"], body["revoked_at"]) == ("line 1", ["read", "train"], None)
    assert made.headers["Location"] == f"/keys/{body['id']}"
    assert made.headers["Cache-Control"] == "no-store"
    assert guarded.client.get("/jobs", headers=own).status_code == 200
    assert guarded.client.get("/keys", headers=own).status_code == 403
    assert guarded.client.delete(made.headers["Location"], headers=ROOT).status_code == 204
    assert guarded.client.get("/jobs", headers=own).status_code == 401
    shown = guarded.client.get(made.headers["Location"], headers=ROOT).json()
    assert shown["revoked_at"] >= shown["created_at"]
    assert guarded.client.delete(made.headers["Location"], headers=ROOT).status_code == 204
    assert guarded.client.get(made.headers["Location"], headers=ROOT).json() == shown


def test_the_secret_is_told_once_and_stored_nowhere(guarded: Front) -> None:
    made = make(guarded, "read", **{"Idempotency-Key": "k"})
    secret = made.json()["secret"]
    again = make(guarded, "read", **{"Idempotency-Key": "k"})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == made.json() | {"secret": None}
    assert secret not in guarded.client.get("/keys", headers=ROOT).text
    with guarded.services.database.read() as session:
        (row,) = session.query(KeyRow)
        (kept,) = session.query(IdempotencyRow)
        assert bytes(row.digest) == digest_of(secret)
        assert kept.body is not None
        assert secret.encode() not in kept.body


def test_keys_are_listed_newest_first_in_pages(guarded: Front) -> None:
    ids = [make(guarded, "read", name=f"line {n}").json()["id"] for n in range(3)]
    guarded.client.headers.update(ROOT)
    assert [key["id"] for key in pages(guarded.client, "/keys", limit=2)] == ids[::-1]


def test_a_revoked_key_dies_at_other_replicas_too(guarded: Front) -> None:
    made = make(guarded, "read")
    with running(guarded.settings) as other:
        assert other.client.get("/jobs", headers=bearer(made)).status_code == 200
        guarded.client.delete(made.headers["Location"], headers=ROOT)
        other.services.keyring.forget()  # as it does by itself every few seconds
        assert other.client.get("/jobs", headers=bearer(made)).status_code == 401


def test_a_key_learns_what_it_may_do(guarded: Front) -> None:
    made = make(guarded, "train", "read")
    own = guarded.client.get("/keys/self", headers=bearer(made))
    assert own.json() == {
        "id": made.json()["id"],
        "name": "line 1",
        "scopes": ["read", "train"],
        "open": False,
    }
    assert own.headers["Cache-Control"] == "private, no-cache"
    guarded.client.delete(made.headers["Location"], headers=ROOT)
    assert guarded.client.get("/keys/self", headers=bearer(made)).status_code == 401


def test_an_operators_key_is_told_no_digest_of_itself(guarded: Front) -> None:
    own = guarded.client.get("/keys/self", headers=ROOT)
    assert own.json() == {"id": None, "name": None, "scopes": ["admin"], "open": False}
    assert digest_of("root").hex()[:16] not in own.text


def test_a_service_without_keys_says_that_it_is_open(front: Front) -> None:
    for headers in ({}, {"X-API-Key": "any"}):
        own = front.client.get("/keys/self", headers=headers).json()
        assert own == {
            "id": None,
            "name": None,
            "scopes": ["admin", "predict", "read", "review", "train"],
            "open": True,
        }


def test_to_ask_what_a_key_may_do_counts_toward_no_rate(start: StartFront) -> None:
    """The dashboard asks all the time, to notice that a key was revoked."""
    front = start(api_keys="read:r", rate_limits="read=1/day")
    for _ in range(3):
        own_key = front.client.get("/keys/self", headers={"X-API-Key": "r"})
        assert (own_key.status_code, "RateLimit" in own_key.headers) == (200, False)
    assert front.client.get("/datasets", headers={"X-API-Key": "r"}).status_code == 200


def test_without_an_operators_key_no_key_is_made(front: Front) -> None:
    refused = front.client.post("/keys", json={"name": "a", "scopes": ["read"]})
    assert refused.status_code == 409
    assert "MASKTUNE_API_KEYS" in refused.json()["detail"]
    assert front.client.get("/keys").json()["data"] == []


FAULTY: list[tuple[dict[str, Any], str]] = [
    ({"name": "", "scopes": ["read"]}, "/name"),
    ({"name": "a\nb", "scopes": ["read"]}, "/name"),
    ({"name": "a\u202eb", "scopes": ["read"]}, "/name"),
    ({"name": "a", "scopes": []}, "/scopes"),
    ({"name": "a", "scopes": ["root"]}, "/scopes/0"),
    ({"name": "a", "scopes": ["read"], "secret": "mine"}, "/secret"),
]


def test_faulty_keys_are_not_made(guarded: Front) -> None:
    for body, pointer in FAULTY:
        refused = guarded.client.post("/keys", json=body, headers=ROOT)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer), body
    assert guarded.client.get("/keys", headers=ROOT).json()["data"] == []


def test_there_may_not_be_more_keys_than_are_quick_to_compare(start: StartFront) -> None:
    front = start(api_keys="admin:root")
    with front.services.database.begin() as session:
        for n in range(keys.MOST - 1):
            session.add(KeyRow(id=new_id("key"), name="old", digest=digest_of(str(n)), scopes=["read"]))
    last = make(front, "read")
    assert make(front, "read").status_code == 409
    front.client.delete(last.headers["Location"], headers=ROOT)
    assert make(front, "read").status_code == 201


# --- how often -----------------------------------------------------------------------------------


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    with redis_server(tmp_path) as (url, process):
        yield url, process


def test_replicas_count_together_in_redis(tmp_path: Path, redis: tuple[str, Any]) -> None:
    with ExitStack() as stack:
        settings = Settings(
            data_dir=tmp_path, broker_url=redis[0], api_keys="read:r,admin:root", rate_limits="read=3/day"
        )
        fronts = [stack.enter_context(running(settings)) for _ in range(2)]
        answers = [fronts[n % 2].client.get("/jobs", headers={"X-API-Key": "r"}) for n in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == [
            "r=2",
            "r=1",
            "r=0",
            "r=0",
        ]
        refused = answers[-1]
        assert refused.json()["type"] == "/problems/too-many-requests"
        assert int(refused.headers["Retry-After"]) >= 1
        assert refused.headers["RateLimit-Policy"] == '"read";q=3;w=86400'
        assert fronts[0].client.get("/jobs", headers=ROOT).status_code == 200
        assert fronts[0].client.get("/livez").headers.get("RateLimit") is None


def test_replicas_whose_clocks_are_hours_apart_count_in_the_same_window(
    tmp_path: Path, redis: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    settings = Settings(data_dir=tmp_path, broker_url=redis[0], rate_limits="read=2/hour")
    with running(settings) as front:
        for hours, status in ((2, 200), (-2, 200), (2, 429), (-2, 429)):
            monkeypatch.setattr(time, "time", lambda ahead=3600 * hours: right() + ahead)
            answer = front.client.get("/jobs")
            assert answer.status_code == status
            assert int(answer.headers["RateLimit"].partition("t=")[2]) <= 3600


def test_without_redis_requests_pass(
    tmp_path: Path, redis: tuple[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(data_dir=tmp_path, broker_url=redis[0], rate_limits="read=1/day")
    with running(settings) as front, caplog.at_level(logging.WARNING, "app.auth.rate_limits"):
        assert front.client.get("/jobs").headers["RateLimit"].startswith('"read";r=0')
        assert front.client.get("/jobs").status_code == 429
        redis[1].kill()
        redis[1].wait()
        assert [front.client.get("/jobs").status_code for _ in range(3)] == [200] * 3
    assert caplog.text.count("rate limits are not counted") == 1


# --- how many jobs -------------------------------------------------------------------------------


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_key_has_so_many_active_jobs_and_no_more(database_url: str, start: StartFront) -> None:
    front = start(
        database_url=database_url, api_keys="train:one,train:two,admin:root", max_active_jobs_per_key=2
    )

    def begin(key: str) -> Any:
        return front.client.post("/datasets", json=DIGITS, headers={"X-API-Key": key})

    with ThreadPoolExecutor(6) as pool:  # at once: two of them may not both take the last place
        answers = list(pool.map(begin, ["one"] * 6))
    assert sorted(answer.status_code for answer in answers) == [202, 202] + [429] * 4
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["type"] == "/problems/too-many-requests"
    assert "Retry-After" not in refused.headers
    assert begin("two").status_code == 202
    with front.services.database.read() as session:
        assert session.query(JobRow).count() == 3  # what was refused left nothing

    job = next(answer.json()["job"] for answer in answers if answer.status_code == 202)
    own = {"X-API-Key": "one"}
    assert front.client.post(f"/jobs/{job}/cancel", headers=own).status_code == 202
    assert begin("one").status_code == 202
    assert front.client.post(f"/jobs/{job}/resume", headers=own).status_code == 429
    with front.services.database.read() as session:
        assert jobs.get(session, job).state == "cancelled"
    assert front.client.post(f"/jobs/{job}/resume", headers=ROOT).status_code == 429  # it stays its owner's
