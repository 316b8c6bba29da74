"""Retries, problems, pages, waiting."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2
import pytest

from masktune import FieldError, Job, ProblemError, Retry, UnexpectedAnswer, Unreachable
from masktune.client.calls import call, create, fetch, get, pages, until
from masktune.client.wire import Now, Once, Policy, Request, Sleep
from tests.unit.masktune.client.conftest import Runner, Script, job, problem


def test_an_answer_becomes_its_shape(runner: Runner) -> None:
    script = Script([httpx2.Response(200, json=job(news="kept"))])
    seen = runner.run(script, call(get("/jobs/job_1"), Job))
    assert (seen.id, seen.state, seen.ended, seen.progress.fraction) == ("job_1", "running", False, 0.5)
    assert seen.model_dump()["news"] == "kept"
    assert script.asked[0].headers["Authorization"] == "Bearer k"


def test_a_problem_is_raised_with_all_it_says(runner: Runner) -> None:
    fault = {"pointer": "/epochs", "code": "too-small", "detail": "must be above 0"}
    script = Script([problem("invalid-input", 422, errors=[fault])])
    with pytest.raises(ProblemError) as caught:
        runner.run(script, call(create("/jobs/erm", json={}), Job))
    error = caught.value
    assert (error.type, error.code, error.status) == ("/problems/invalid-input", "invalid-input", 422)
    assert (error.title, error.detail) == ("invalid-input", "do this")
    assert error.errors == (FieldError("/epochs", "too-small", "must be above 0"),)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[1]", b"", b"[" * 200_000], ids=["page", "list", "empty", "nested"]
)
def test_the_page_of_a_proxy_is_a_problem_too(runner: Runner, body: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        runner.run(Script([httpx2.Response(403, content=body)]), fetch(get("/jobs")))
    assert (caught.value.status, caught.value.title, caught.value.errors) == (403, "Forbidden", ())


@pytest.mark.parametrize("status", ["error", "503", None, True, 4.5, 1001, -1])
def test_a_status_that_is_none_gives_way_to_that_of_http(runner: Runner, status: object) -> None:
    script = Script([httpx2.Response(400, json={"status": status, "title": 7, "errors": "none"})])
    with pytest.raises(ProblemError) as caught:
        runner.run(script, fetch(get("/jobs")))
    assert (caught.value.status, caught.value.title, caught.value.detail) == (400, "7", "7")


@pytest.mark.parametrize(
    ("location", "said"),
    [
        (
            "https://front/a/jobs?limit=2",
            "GET /jobs redirects to https://front/a: use that address instead",
        ),
        ("/api/jobs", "GET /jobs redirects to http://test/api: use that address instead"),
        (
            "https://login/?to=/jobs",
            "GET /jobs redirects to https://login/?to=/jobs; redirects are not followed",
        ),
        (None, "GET /jobs returned 302 Found, which this service never answers with"),
    ],
)
def test_a_redirect_is_no_answer(runner: Runner, location: str | None, said: str) -> None:
    moved = httpx2.Response(302, headers={"Location": location} if location else {}, html="<h1>Moved</h1>")
    script = Script([moved])
    with pytest.raises(UnexpectedAnswer, match=re.escape(said)):
        runner.run(script, fetch(get("/jobs", limit=2)))
    assert len(script.asked) == 1


PASSING: dict[str, Callable[[], httpx2.Response | Exception]] = {
    "broken": lambda: httpx2.ReadError("gone"),
    "refused": lambda: httpx2.ConnectError("refused"),
    "502": lambda: httpx2.Response(502),
    "503": lambda: problem("overloaded", 503),
    "504": lambda: httpx2.Response(504),
    "429": lambda: problem("too-many-requests", 429),
    "in flight": lambda: problem("request-in-flight", 409),
    "in flight behind a prefix": lambda: problem(
        "request-in-flight", 409, type="/mt/problems/request-in-flight"
    ),
}


@pytest.mark.parametrize("failure", PASSING)
def test_what_may_pass_is_tried_again_under_the_same_key(runner: Runner, failure: str) -> None:
    script = Script([PASSING[failure](), httpx2.Response(202, json=job())])
    assert runner.run(script, call(create("/jobs/erm", json={"dataset": "ds_1"}), Job)).id == "job_1"
    first, second = (request.headers["Idempotency-Key"] for request in script.asked)
    assert first == second
    assert script.bodies == [b'{"dataset":"ds_1"}'] * 2


@pytest.mark.parametrize("failure", ["broken", "503"])
def test_what_is_not_repeatable_is_sent_once(runner: Runner, failure: str) -> None:
    script = Script([PASSING[failure]()])
    with pytest.raises((Unreachable, ProblemError)):
        runner.run(script, fetch(Request(method="POST", path="/jobs/job_1/cancel")))
    assert len(script.asked) == 1


def test_a_refused_connection_is_tried_again_whatever_was_asked(runner: Runner) -> None:
    script = Script([httpx2.ConnectError("refused"), httpx2.Response(200)])
    runner.run(script, fetch(Request(method="POST", path="/jobs/job_1/cancel")))
    assert len(script.asked) == 2


def test_other_problems_are_not_tried_again(runner: Runner) -> None:
    for status in (400, 404, 409, 422, 500):
        script = Script([problem("no", status)])
        with pytest.raises(ProblemError):
            runner.run(script, fetch(get("/jobs")))
        assert len(script.asked) == 1


def test_tries_are_bounded(runner: Runner) -> None:
    script = Script([httpx2.ConnectError("refused")] * 4)
    with pytest.raises(Unreachable, match=r"no answer to GET /jobs \(refused\)"):
        runner.run(script, fetch(get("/jobs")))
    script = Script([httpx2.Response(503)] * 4)
    with pytest.raises(ProblemError):
        runner.run(script, fetch(get("/jobs")))


def _wait(retry: Retry, attempt_of: int, **headers: str) -> float:
    """Seconds that a flow waits after this many failures, asked of the flow itself."""
    flow = fetch(get("/jobs"))
    step = next(flow)
    assert isinstance(step, Policy)
    step = flow.send(retry)
    seconds = 0.0
    for _ in range(attempt_of):
        assert isinstance(step, Once)
        slept = flow.send(httpx2.Response(503, headers=headers))
        assert isinstance(slept, Sleep)
        seconds = slept.seconds
        step = next(flow)
    return seconds


def test_waits_grow_up_to_a_bound_and_are_drawn() -> None:
    retry = Retry(attempts=20, first=1.0, longest=4.0)
    for attempt, bound in ((1, 1), (2, 2), (3, 4), (10, 4)):
        waits = [_wait(retry, attempt) for _ in range(50)]
        assert 0 <= min(waits) < max(waits) <= bound


def test_retry_after_counts_as_seconds_or_date_up_to_a_bound() -> None:
    retry = Retry(longest_asked=30)
    assert _wait(retry, 1, **{"Retry-After": "7"}) == 7
    assert _wait(retry, 1, **{"Retry-After": "0"}) == 0
    assert _wait(retry, 1, **{"Retry-After": "9999"}) == 30
    assert _wait(retry, 1, **{"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}) == 30
    assert _wait(retry, 1, **{"Retry-After": "soon"}) <= retry.first


def test_pages_are_followed_to_the_end(runner: Runner) -> None:
    script = Script(
        [
            httpx2.Response(200, json={"data": [job(id="a"), job(id="b")], "next_cursor": "x"}),
            httpx2.Response(200, json={"data": [job(id="c")], "next_cursor": None}),
        ]
    )
    found = runner.all(script, pages(get("/jobs", kind="erm", state=None, limit=2), Job))
    assert [one.id for one in found] == ["a", "b", "c"]
    assert [str(request.url.query, "ascii") for request in script.asked] == [
        "kind=erm&limit=2",
        "kind=erm&limit=2&cursor=x",
    ]


def test_waiting_asks_less_and_less_often_and_gives_up() -> None:
    flow, now, pauses = until(lambda seen: seen.ended, get("/jobs/job_1"), Job, timeout=10.0), 0.0, []
    reply: object = None
    while True:
        try:
            step = flow.send(reply)
        except StopIteration as ended:
            seen = ended.value
            break
        if isinstance(step, Sleep):
            pauses.append(step.seconds)
            now += step.seconds
        reply = {Now: now, Policy: Retry(), Once: httpx2.Response(200, json=job())}.get(type(step))
    assert seen.state == "running"
    assert pauses[:3] == pytest.approx([0.1, 0.13, 0.169])
    assert now == pytest.approx(10.0, abs=0.02)
    assert max(pauses) <= 2.0
