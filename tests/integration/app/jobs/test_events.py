"""Events: nothing lost, nothing twice, and an end."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from app.jobs.event_feed import EventFeed
from app.jobs.event_stream import HEARTBEAT
from core.errors import Unavailable
from core.queries import events, jobs, leases
from core.session import Database
from core.tables import EventRow, JobRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import EventType, JobKind, JobState
from tests.integration.app.conftest import Front, Listen, pages, stream_of
from tests.support.waits import wait_until

pytestmark = pytest.mark.anyio

STREAM = {"Accept": "text/event-stream"}


def parse(text: str) -> list[dict[str, str]]:
    """The events of a stream; comments and `retry` are left out."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            events.append(fields)
    return events


def finished(front: Front, *messages: str) -> str:
    """A job that logged these messages and succeeded."""
    job = front.job()
    lease = front.claim()
    front.log(lease, *messages)
    front.end(lease)
    return job


def test_the_stream_of_an_ended_job_is_whole_and_ends(front: Front) -> None:
    job = finished(front, "a", "b\nc")
    answer = front.client.get(f"/jobs/{job}/events", headers=STREAM)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    events = parse(answer.text)
    assert [event["id"] for event in events] == ["1", "2", "3", "4", "5"]
    assert [event["event"] for event in events] == ["state", "state", "log", "log", "state"]
    bodies = [json.loads(event["data"]) for event in events]
    assert [body["id"] for body in bodies] == [1, 2, 3, 4, 5]
    assert bodies[3]["data"] == {"message": "b\nc"}
    assert bodies[-1]["data"]["state"] == "succeeded"


def test_a_stream_is_resumed_behind_the_last_id(front: Front) -> None:
    job = finished(front, "a", "b")
    path = f"/jobs/{job}/events"
    resumed = parse(front.client.get(path, headers=STREAM | {"Last-Event-ID": "3"}).text)
    assert [event["id"] for event in resumed] == ["4", "5"]
    assert parse(front.client.get(f"{path}?after=3", headers=STREAM).text) == resumed
    nothing = front.client.get(path, headers=STREAM | {"Last-Event-ID": "5"})
    assert (nothing.status_code, nothing.content) == (204, b"")
    refused = front.client.get(path, headers=STREAM | {"Last-Event-ID": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "Last-Event-ID:")
    assert front.client.get(f"/jobs/{new_id('job')}/events", headers=STREAM).status_code == 404


def test_a_stream_behind_a_number_that_was_never_told_ends_with_its_job(front: Front) -> None:
    """As after a backup was restored: nothing would ever come that is behind it, not even the end."""
    job, lease = front.job(), front.claim()
    headers = STREAM | {"Last-Event-ID": "99"}
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(front.client.get, f"/jobs/{job}/events", headers=headers)
        try:
            wait_until(lambda: len(front.services.event_feed) == 1)
            front.end(lease)
            assert [event["id"] for event in parse(asked.result(30).text)] == ["3"]
        finally:
            assert front.client.portal is not None
            front.client.portal.call(front.services.event_feed.stop)


def test_a_stream_goes_over_what_is_gone(front: Front) -> None:
    job = finished(front, *"abcdef")
    with front.services.database.begin() as session:
        session.execute(delete(EventRow).where(EventRow.job_id == job, EventRow.seq.in_((1, 4, 5, 7))))
    path = f"/jobs/{job}/events"
    assert [event["id"] for event in parse(front.client.get(path, headers=STREAM).text)] == [*"23689"]
    resumed = front.client.get(path, headers=STREAM | {"Last-Event-ID": "4"})
    assert [event["id"] for event in parse(resumed.text)] == [*"689"]
    assert [event["id"] for event in front.client.get(path).json()["data"]] == [2, 3, 6, 8, 9]
    assert front.client.get(f"/jobs/{job}").json()["events"] == 9


def test_pages_of_json(front: Front) -> None:
    job = finished(front, *"abcde")
    path = f"/jobs/{job}/events"
    assert front.client.get(path).headers["Vary"] == "Accept"
    assert [event["id"] for event in pages(front.client, path, limit=3)] == list(range(1, 9))
    assert [event["id"] for event in front.client.get(path, params={"after": 6}).json()["data"]] == [7, 8]


def test_a_resumed_job_streams_past_its_first_end(front: Front) -> None:
    job = front.job()
    front.client.post(f"/jobs/{job}/cancel")
    front.client.post(f"/jobs/{job}/resume")
    front.end(front.claim())
    states = [
        json.loads(e["data"])["data"]["state"]
        for e in parse(front.client.get(f"/jobs/{job}/events", headers=STREAM).text)
    ]
    assert states == ["queued", "cancelled", "queued", "running", "succeeded"]


# --- the reader itself, on a loop of the test's own ------------------------------------------


def queued(database: Database) -> str:
    with database.begin() as session:
        return jobs.add(session, JobRow(id=new_id("job"), kind=JobKind.ERM, params={})).id


def work(database: Database, messages: int, *, end: bool = True) -> None:
    """Claim a job, log, and end it: each step a transaction, as a worker's."""
    with database.begin() as session:
        row = leases.claim(session, worker="w", lease_seconds=60)
        assert row is not None
        lease = leases.Lease(row.id, row.token)
    for number in range(messages):
        with database.begin() as session:
            leases.log(session, lease, str(number))
    if end:
        with database.begin() as session:
            leases.end(session, lease, JobState.SUCCEEDED)


async def ids(followers: EventFeed, job: str, *, after: int = 0) -> list[int]:
    async with asyncio.timeout(20):
        return [row.seq async for row in followers.follow(job, after=after, heartbeat=5) if row is not None]


async def test_many_followers_at_different_places_each_get_all_of_theirs(database: Database) -> None:
    quick, slow = queued(database), queued(database)
    followers = EventFeed(database, poll_seconds=0.01)
    waiting = [asyncio.create_task(ids(followers, job, after=n)) for job in (quick, slow) for n in (0, 2, 5)]
    await asyncio.sleep(0.05)
    await asyncio.to_thread(work, database, 20)
    late = asyncio.create_task(ids(followers, quick))
    await asyncio.to_thread(work, database, 3)
    found = await asyncio.gather(*waiting, late)
    assert len(followers) == 0
    last = 23
    expected = [list(range(n + 1, last + 1)) for n in (0, 2, 5)] + [list(range(n + 1, 7)) for n in (0, 2, 5)]
    assert found == [*expected, list(range(1, last + 1))]


@given(cut=st.lists(st.integers(min_value=1, max_value=9), max_size=6))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reconnecting_anywhere_loses_and_repeats_nothing(front: Front, cut: list[int]) -> None:
    job = finished(front, *"abcdefghij")

    async def run() -> list[int]:
        followers, seen = EventFeed(front.services.database, poll_seconds=0.01), list[int]()
        for length in [*cut, 1000]:
            after = seen[-1] if seen else 0
            taken = 0
            async for row in followers.follow(job, after=after, heartbeat=5):
                assert row is not None
                seen.append(row.seq)
                taken += 1
                if taken == length:
                    break
        return seen

    assert asyncio.run(run()) == list(range(1, 14))


async def test_an_event_that_cannot_be_understood_ends_no_reader_in_silence(database: Database) -> None:
    """As of a newer version of the service: the other streams of the process would wait without a word."""
    strange, job = queued(database), queued(database)
    with database.begin() as session:
        events.add(session, strange, EventType.STATE, {"state": "hibernating"})
    followers = EventFeed(database, poll_seconds=0.001)
    with pytest.raises(Unavailable) as told:
        await ids(followers, strange)
    assert "cannot be read" in told.value.detail
    for _ in range(2):
        await asyncio.to_thread(work, database, 1)
    assert await ids(followers, job) == [1, 2, 3, 4]


def test_a_long_history_is_read_in_batches(front: Front) -> None:
    job = finished(front, *map(str, range(10)))
    followers = EventFeed(front.services.database, poll_seconds=60, batch=3)
    assert asyncio.run(ids(followers, job)) == list(range(1, 14))


async def test_silence_is_filled_with_heartbeats_and_stopping_ends_the_stream(front: Front) -> None:
    followers, sent = EventFeed(front.services.database, poll_seconds=0.01), list[bytes]()
    async with asyncio.timeout(20):
        async for chunk in stream_of(followers, front.job(), after=1, heartbeat=0.03):
            sent.append(chunk)
            if sent.count(HEARTBEAT) == 2:
                followers.stop()
    assert sent[1:] == [HEARTBEAT, HEARTBEAT]


def test_a_revoked_key_ends_its_stream_at_the_next_event(listen: Listen) -> None:
    server = listen(api_keys="admin:root", events_poll_seconds=0.02)
    job, origin = server.job(), "http://{}:{}".format(*server.address)
    with httpx2.Client(base_url=origin, headers={"X-API-Key": "root"}, timeout=30) as admin:
        created_key = admin.post("/keys", json={"name": "line 1", "scopes": ["read"]})
        own = STREAM | {"X-API-Key": created_key.json()["secret"]}
        with httpx2.stream("GET", f"{origin}/jobs/{job}/events", headers=own, timeout=30) as stream:
            pieces = stream.iter_text()
            while not parse(next(pieces)):
                pass
            admin.delete(created_key.headers["Location"])
            with server.services.database.begin() as session:
                assert leases.claim(session, worker="test", lease_seconds=600)
            (last,) = parse("".join(pieces))
    assert last["event"] == "error"
    assert json.loads(last["data"])["type"] == "/problems/unauthenticated"


async def test_a_database_that_stays_away_ends_the_stream_with_a_problem(front: Front) -> None:
    followers = EventFeed(Database(f"sqlite:///{front.settings.data_dir}/empty.db"), poll_seconds=0.001)
    _, last = [chunk async for chunk in stream_of(followers, front.job(), after=0)]
    event = parse(last.decode())[0]
    assert event["event"] == "error"
    assert "id" not in event
    assert json.loads(event["data"])["type"] == "/problems/unavailable"
