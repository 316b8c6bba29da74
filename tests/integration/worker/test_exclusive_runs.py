"""A job changes hands, or is stopped: it runs once at a time, and what it leaves is whole."""

from __future__ import annotations

import os
import signal

import pytest

from core.queries import jobs
from masktune.contract.vocabulary import JobState
from tests.integration.worker.service import (
    IN_ORDER,
    Backend,
    Reference,
    check_ended_once,
    weights,
)
from tests.support.waits import wait_until

pytestmark = [pytest.mark.trains, pytest.mark.faults, pytest.mark.slow]


@pytest.mark.parametrize("backend", ["servers"], indirect=True)
def test_a_stopped_worker_is_fenced(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    first = service.start_worker()
    job_id = service.add_held_at(IN_ORDER[2])
    service.stop(first, job_id)
    service.await_no_child()  # its lease ran out
    service.open_gates()
    service.start_worker()
    job = service.await_state(job_id, JobState.SUCCEEDED)
    first.send_signal(signal.SIGCONT)
    wait_until(lambda: "the lease is lost; its next holder goes on" in service.log(), service.log)
    other = service.await_state(service.add_import(), JobState.SUCCEEDED)  # by whichever worker
    assert (job.attempt, other.attempt) == (2, 1)
    check_ended_once(service, service.job(job_id), reference)


@pytest.mark.parametrize("backend", ["servers"], indirect=True)
def test_a_host_that_is_paused_with_its_job_changes_nothing_when_it_wakes(
    backend: Backend, reference: Reference
) -> None:
    """As a suspended virtual machine: nobody on it can notice in time that the lease has run out."""
    service, _ = backend
    first = service.start_worker()
    service.hold_at(IN_ORDER[2])
    job_id = service.add()
    child = service.await_child_at(IN_ORDER[2])
    service.stop(first, job_id)
    os.kill(child, signal.SIGSTOP)
    service.open_gates()
    service.start_worker()
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert job.attempt == 2
    check_ended_once(service, job, reference)  # its work is thrown away after it has ended
    files = service.files()
    os.kill(child, signal.SIGCONT)
    first.send_signal(signal.SIGCONT)
    wait_until(lambda: "the lease is lost; its next holder goes on" in service.log(), service.log)
    service.await_no_child()
    check_ended_once(service, service.job(job_id), reference)
    assert service.files() == files


@pytest.mark.parametrize("backend", ["embedded"], indirect=True)
def test_cancel_frees_the_device_in_every_stage_and_resume_goes_on(
    backend: Backend, reference: Reference
) -> None:
    service, _ = backend
    service.start_worker()
    service.touch_at(IN_ORDER[0])
    job_id = service.add()
    for stage, after in zip(IN_ORDER, (*IN_ORDER[1:], None), strict=True):
        service.await_child_at(stage)
        with service.database.begin() as session:
            jobs.cancel(session, job_id)
        job = service.await_state(job_id, JobState.CANCELLED)
        assert service.children() == []  # when it says so, the device is free
        assert stage not in job.done
        service.open_gates() if after is None else service.touch_at(after)
        with service.database.begin() as session:
            jobs.resume(session, job_id)
        service.notifier.notify(job_id)
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert weights(job) == reference.weights
    assert job.metrics == reference.metrics
