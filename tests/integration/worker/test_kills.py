"""Whatever is killed, wherever: the job ends once, with the weights of an unbroken run, bit for bit."""

from __future__ import annotations

import pytest

from masktune.contract.vocabulary import JobState
from tests.integration.worker.service import IN_ORDER, Backend, Reference, check_ended_once, kill

pytestmark = [pytest.mark.trains, pytest.mark.faults, pytest.mark.slow]


@pytest.mark.parametrize("backend", ["embedded"], indirect=True)
def test_the_child_is_killed_in_every_stage(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    service.start_worker()
    service.hold_at(IN_ORDER[0])
    job_id = service.add()
    for stage, after in zip(IN_ORDER, (*IN_ORDER[1:], None), strict=True):
        child = service.await_child_at(stage)
        service.open_gates() if after is None else service.hold_at(after)
        kill(child)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 1 + len(IN_ORDER)
    check_ended_once(service, job, reference)


def test_the_worker_is_killed_in_every_stage(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    service.start_worker()
    service.hold_at(IN_ORDER[0])
    job_id = service.add()
    for stage, after in zip(IN_ORDER, (*IN_ORDER[1:], None), strict=True):
        service.await_child_at(stage)
        service.start_worker()  # the one that will take over
        holder = service.worker_of(job_id)
        kill(holder.pid)
        holder.wait()
        service.await_no_child()  # its stdin ended
        service.open_gates() if after is None else service.hold_at(after)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 1 + len(IN_ORDER)
    check_ended_once(service, job, reference)


@pytest.mark.parametrize("backend", ["servers"], indirect=True)  # without servers there is no broker
def test_the_broker_is_killed_in_every_stage(backend: Backend, reference: Reference) -> None:
    service, redis = backend
    assert redis is not None
    service.start_worker()
    service.hold_at(IN_ORDER[0])
    job_id, waiting = service.add(), service.add()  # the second one's message is lost with the broker
    for stage, after in zip(IN_ORDER, (*IN_ORDER[1:], None), strict=True):
        service.await_child_at(stage)
        redis.kill()
        service.open_gates() if after is None else service.hold_at(after)
        redis.start()
    for id in (job_id, waiting):
        job = service.await_state(id, JobState.SUCCEEDED)
        assert job.attempt == 1
        check_ended_once(service, job, reference)
