"""A job's events, followed across dropped connections: each exactly once and in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TypeVar

import httpx2

from masktune.client.calls import PATIENCE, backoff_seconds, call, get, is_transient, open_body, segment
from masktune.client.errors import ClientError, ProblemError, UnexpectedAnswer, Unreachable
from masktune.client.sse import Parser, ServerEvent
from masktune.client.wire import Close, Effect, Emit, EmittingFlow, Flow, Policy, Read, Request, Retry, Sleep
from masktune.contract.jobs import Event, Job, StateEvent
from masktune.contract.vocabulary import ENDED, JobState

T = TypeVar("T")


def follow(job_id: str, *, after: int = 0) -> EmittingFlow[Event]:
    """Iterate over the events numbered above `after`, past and future, until the job has ended.

    A dropped connection is reopened with `Last-Event-ID`. The stream ends when the service closes it after
    the job has ended: the state `failed` alone is not the end, because the job may be resumed.
    """
    return follow_batches(job_id, after=after, tell=lambda events: map(Emit, events))


def follow_batches(
    job_id: str, *, after: int, tell: Callable[[list[Event]], Iterable[Effect | Emit[T]]]
) -> EmittingFlow[T]:
    """Like `follow`, but passes each batch of new events to `tell` and emits what `tell` emits."""
    last, state, silent = after, "", 0
    retry: Retry = yield Policy()
    while True:
        before, over, parser = last, False, Parser()
        broken: Exception | None = None
        try:
            body = yield from open_body(_stream(job_id, last))
            while chunk := (yield Read(body)):
                new = [event for event in map(_event, parser.feed(chunk)) if event.id > last]
                if new:
                    last = new[-1].id
                    state = _newest_state(new) or state
                if new or state == JobState.QUEUED:  # what a job waits for changes without an event
                    yield from tell(new)
            yield Close(body)
            over = state in ENDED or (yield from _over(job_id, silent=last == before))
        except httpx2.TransportError as error:
            broken = error
        except ClientError as error:
            if last == 0 or not is_transient(error):  # never reached; only a restarting service is waited for
                raise
            broken = error
        if over:
            return
        silent = 0 if last > before else silent + 1
        if silent >= PATIENCE:
            raise Unreachable(f"the event stream of job {job_id} broke {silent} times in a row") from broken
        yield Sleep(backoff_seconds(retry, silent))


def _newest_state(events: list[Event]) -> str:
    states = [event.data.state.value for event in events if isinstance(event, StateEvent)]
    return states[-1] if states else ""


def _over(job_id: str, *, silent: bool) -> Flow[bool]:
    """Whether a stream that closed without a final state is complete because the job had ended before."""
    if not silent:
        return False
    return (yield from call(get(f"/jobs/{segment(job_id)}"), Job)).ended


def _stream(job_id: str, last: int) -> Request:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if last:
        headers["Last-Event-ID"] = str(last)
    return Request(method="GET", path=f"/jobs/{segment(job_id)}/events", headers=headers, repeatable=True)


def _event(sent: ServerEvent) -> Event:
    try:
        body = json.loads(sent.data)
        if sent.type == "error" and isinstance(body, dict):  # a problem raised after the stream began
            raise ProblemError(body, status=500)
        return Event.model_validate(body)
    except ValueError as error:
        raise UnexpectedAnswer(f"event {sent.id} of the stream is malformed: {sent.data[:200]!r}") from error
