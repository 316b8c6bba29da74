"""A job changes hands, or is stopped: it runs once at a time, and what it leaves is whole."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis as redis_client

from core.queries import jobs
from masktune.contract.vocabulary import JobState, Stage
from tests.conftest import postgres_database
from tests.integration.worker.real_jobs import hyperparameters
from tests.integration.worker.service import (
    IN_ORDER,
    Backend,
    Reference,
    check_ended_once,
    kill,
    open_service,
    weights,
)
from tests.machine import needs
from tests.support.waits import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.slow]


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


def test_hosts_whose_clocks_are_two_hours_apart_agree_who_holds_a_job(
    tmp_path: Path, reference: Reference
) -> None:
    """A lease that ends by the wrong clock would end at once, or two hours after its holder is gone."""
    needs("faketime")
    with ExitStack() as stack:
        database = stack.enter_context(postgres_database())
        service = open_service(tmp_path, reference.store, database_url=database, lease_seconds=6.0)
        stack.callback(service.close)
        began = time.time()
        for clock in ("+1h", "-1h"):
            service.start_worker(clock=clock)
        service.hold_at(Stage.IMPORT)
        job_id = service.add_import()
        service.await_child_at(Stage.IMPORT)
        holder, attempt = service.worker_of(job_id), service.job(job_id).attempt
        time.sleep(5 * service.settings.sweep_seconds)
        assert service.job(job_id).attempt == attempt
        service.open_gates()
        kill(holder.pid)
        job = service.await_state(job_id, JobState.SUCCEEDED)
        assert service.worker_of(job_id) is not holder
        assert job.attempt == attempt + 1
        times = [event.at for event in service.events(job_id)]
        assert times == sorted(times)
        assert began - 1 < times[0] < times[-1] < time.time() + 1


@pytest.mark.parametrize("backend", ["servers"], indirect=True)
def test_duplicate_notifications_run_nothing_twice(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    service.start_worker()
    service.start_worker()
    service.hold_at(IN_ORDER[0])
    job_id = service.add()
    for _ in range(20):
        service.notifier.notify(job_id)
    service.await_child_at(IN_ORDER[0])
    service.open_gates()
    job = service.await_state(job_id, JobState.SUCCEEDED)
    for _ in range(5):
        service.notifier.notify(job_id)
    assert job.attempt == 1
    check_ended_once(service, job, reference)


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


@pytest.mark.parametrize("backend", ["servers"], indirect=True)
def test_sigterm_of_a_worker_gives_its_job_to_another(backend: Backend, reference: Reference) -> None:
    service, _ = backend
    first = service.start_worker()
    service.touch_at(IN_ORDER[0])
    job_id = service.add()
    service.await_child_at(IN_ORDER[0])
    first.terminate()
    assert first.wait(timeout=60) == 0
    assert service.children() == []
    assert service.job(job_id).state is JobState.QUEUED
    service.open_gates()
    service.start_worker()
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert (job.attempt, job.crashes) == (2, 0)
    check_ended_once(service, job, reference)


@pytest.mark.parametrize("backend", ["servers"], indirect=True)
def test_a_worker_outlives_a_failover_of_its_queue_and_finds_a_job_that_nobody_was_told_of(
    backend: Backend, reference: Reference, caplog: pytest.LogCaptureFixture
) -> None:
    """What was the master takes no writes then, and Celery takes a pop for one. Nor does it take the job's
    message, so that only a look at the table can find the job."""
    service, redis = backend
    assert redis is not None
    worker = service.start_worker()
    with redis_client.Redis(port=redis.port) as client:
        wait_until(lambda: any(c["cmd"] == "brpop" for c in client.client_list()), service.log)
        client.replicaof("127.0.0.1", 1)
        wait_until(lambda: worker.poll() is not None or "read only" in service.log(), service.log)
        job_id = service.add()
        wait_until(lambda: f"job {job_id} was not announced" in caplog.text, lambda: caplog.text)
        client.replicaof("NO", "ONE")
    job = service.await_state(job_id, JobState.SUCCEEDED)
    assert worker.poll() is None
    check_ended_once(service, job, reference)


@pytest.mark.parametrize("backend", ["embedded"], indirect=True)
def test_ranks_end_with_their_child(backend: Backend) -> None:
    service, _ = backend
    service.start_worker()
    job_id = service.add(params=hyperparameters(gpus=2, epochs=400))
    wait_until(lambda: bool(service.job(job_id).progress), service.log)  # the ranks are at work
    processes = service.children()
    assert len(processes) >= 4  # the child, torchrun, and two ranks
    child = min(processes, key=_started)
    kill(child)
    wait_until(lambda: not set(processes) & set(service.children()), service.describe_children)
    with service.database.begin() as session:
        jobs.cancel(session, job_id)
    service.await_state(job_id, JobState.CANCELLED)
    assert service.children() == []


def _started(pid: int) -> int:
    """When the process started, in ticks since boot (field 22 of proc(5) stat)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
