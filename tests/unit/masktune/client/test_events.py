"""Following a job over connections that drop."""

from __future__ import annotations

import json
import random

import httpx2
import pytest

from masktune import ProblemError, StateEvent, UnexpectedAnswer, Unreachable
from masktune.client.calls import PATIENCE
from masktune.client.events import follow
from masktune.client.jobs import watch
from tests.unit.masktune.client.conftest import Chunks, Runner, Script, blocking, job

BROKEN = httpx2.RemoteProtocolError("peer closed connection")


def event(number: int, **data: object) -> bytes:
    kind = "state" if "state" in data else "progress"
    body = {"id": number, "type": kind, "at": "2025-11-03T09:30:00Z", "data": data}
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(body)}\n\n".encode()


def stream(*pieces: bytes | Exception) -> httpx2.Response:
    return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Chunks(*pieces))


def test_it_resumes_behind_the_last_event_it_has(runner: Runner) -> None:
    script = Script(
        [
            stream(event(1, state="running") + event(2, fraction=0.1), BROKEN),
            httpx2.Response(503),
            # What a proxy replays is not told twice; half an event is told whole later.
            stream(event(2, fraction=0.1), event(3, fraction=0.2), event(4, fraction=0.3)[:20]),
            stream(event(4, fraction=0.3), event(5, state="succeeded")),
        ]
    )
    found = runner.all(script, follow("job_1"))
    assert [seen.id for seen in found] == [1, 2, 3, 4, 5]
    assert isinstance(found[0], StateEvent)
    assert found[0].data.state == "running"
    sent = [request.headers.get("Last-Event-ID") for request in script.asked]
    assert sent == [None, "2", "2", "3"]
    assert {request.headers["Accept"] for request in script.asked} == {"text/event-stream"}


def test_a_stream_goes_on_after_a_failure_that_was_resumed(runner: Runner) -> None:
    script = Script([stream(event(1, state="failed"), event(2, state="queued"), event(3, state="succeeded"))])
    assert len(runner.all(script, follow("job_1"))) == 3


def test_an_ended_job_without_news_ends_the_stream(runner: Runner) -> None:
    for nothing in (stream(), httpx2.Response(204)):
        script = Script([nothing, httpx2.Response(200, json=job(state="failed"))])
        assert runner.all(script, follow("job_1", after=7)) == []
        assert script.asked[0].headers["Last-Event-ID"] == "7"


def test_a_running_job_without_news_is_asked_again(runner: Runner) -> None:
    script = Script([stream(), httpx2.Response(200, json=job()), stream(event(8, state="cancelled"))])
    assert [seen.id for seen in runner.all(script, follow("job_1", after=7))] == [8]


def test_a_stream_that_only_breaks_is_given_up(runner: Runner) -> None:
    script = Script([stream(BROKEN) for _ in range(PATIENCE)])
    with pytest.raises(Unreachable, match="broke 12 times in a row"):
        runner.all(script, follow("job_1"))


def test_a_problem_in_the_stream_is_raised(runner: Runner) -> None:
    body = json.dumps({"type": "/problems/unavailable", "status": 503, "title": "away", "detail": "later"})
    script = Script([stream(f"event: error\ndata: {body}\n\n".encode())])
    with pytest.raises(ProblemError, match="later"):
        runner.all(script, follow("job_1"))


@pytest.mark.parametrize(
    "text", ["id: 1\ndata: {\n\n", "id: 1\ndata: {}\n\n", "data: []\n\n", "event: error\ndata: []\n\n"]
)
def test_what_is_no_event_is_unexpected(runner: Runner, text: str) -> None:
    with pytest.raises(UnexpectedAnswer):
        runner.all(Script([stream(text.encode())]), follow("job_1"))


@pytest.mark.parametrize("seed", range(10))
def test_no_event_is_lost_or_doubled_wherever_the_connection_breaks(runner: Runner, seed: int) -> None:
    rng, last = random.Random(seed), 40
    whole = [event(n, fraction=n / last) for n in range(1, last)] + [event(last, state="succeeded")]

    def service(request: httpx2.Request) -> httpx2.Response:
        behind = int(request.headers.get("Last-Event-ID", 0))
        rest = b"".join(whole[behind:])
        if not rest:
            return httpx2.Response(204)
        # At least one event gets through, for a stream that only breaks is given up.
        cut = rng.randint(len(whole[behind]), len(rest))
        pieces = [rest[at : min(at + 37, cut)] for at in range(0, cut, 37)]
        return stream(*pieces, *([BROKEN] if rng.random() < 0.9 else []))

    found = runner.all(service, follow("job_1"))
    assert [seen.id for seen in found] == list(range(1, last + 1))


def test_leaving_early_closes_the_connection() -> None:
    body = Chunks(event(1, state="running"), event(2, fraction=0.1))
    with blocking(lambda request: httpx2.Response(200, stream=body)) as client:
        for _ in client.jobs.events("job_1"):
            break
        assert body.closed


def test_watching_tells_of_each_change_and_of_the_end(runner: Runner) -> None:
    now, later, end = job(), job(progress={"fraction": 0.9}), job(state="succeeded")
    script = Script(
        [
            httpx2.Response(200, json=now),
            stream(
                event(1, state="running"),
                event(2, fraction=0.8),  # too soon after the last look for another
                event(3, fraction=0.9) + event(4, state="running"),
                event(5, state="succeeded"),
            ),
            httpx2.Response(200, json=now),
            httpx2.Response(200, json=later),
            httpx2.Response(200, json=end),
            httpx2.Response(200, json=end),
        ]
    )
    seen = runner.all(script, watch("job_1"))
    assert [(one.state, one.progress.fraction) for one in seen] == [
        ("running", 0.5),
        ("running", 0.9),
        ("succeeded", 0.5),
    ]


@pytest.mark.parametrize("status", [None, 429, 502, 503, 504])
def test_a_service_that_restarts_is_waited_for(runner: Runner, status: int | None) -> None:
    """Its connection is refused, or a proxy answers for it."""
    error = Unreachable if status is None else ProblemError

    def away(number: int) -> list[httpx2.Response | Exception]:
        refused = httpx2.ConnectError("refused")
        return [refused if status is None else httpx2.Response(status) for _ in range(number)]

    script = Script(
        [stream(event(1, state="running"), BROKEN), *away(9), stream(event(2, state="succeeded"))]
    )
    assert [seen.id for seen in runner.all(script, follow("job_1"))] == [1, 2]
    with pytest.raises(error):
        runner.all(Script(away(4)), follow("job_1"))


def test_a_job_that_is_gone_is_not_waited_for(runner: Runner) -> None:
    script = Script([stream(event(1, state="running"), BROKEN), httpx2.Response(404)])
    with pytest.raises(ProblemError):
        runner.all(script, follow("job_1"))


def test_watching_an_ended_job_tells_of_it_once(runner: Runner) -> None:
    assert len(runner.all(Script([httpx2.Response(200, json=job(state="failed"))]), watch("job_1"))) == 1


def test_watching_a_queued_job_tells_what_it_waits_for_whenever_the_service_shows_life(
    runner: Runner,
) -> None:
    """What is in its way changes without an event of this job."""
    waits = ["a free worker: 1 job runs, 1 job is before it", "a free worker: 1 job runs"]
    first, second = (job(state="queued", waiting_for=text) for text in waits)
    heartbeat = b": still here\n\n"
    script = Script(
        [
            httpx2.Response(200, json=first),
            stream(event(1, state="queued"), heartbeat, event(2, state="succeeded")),
            httpx2.Response(200, json=first),
            httpx2.Response(200, json=second),
            httpx2.Response(200, json=job(state="succeeded")),
            httpx2.Response(200, json=job(state="succeeded")),
        ]
    )
    told = [change.waiting_for for change in runner.all(script, watch("job_1"))]
    assert told == [*waits, None]
