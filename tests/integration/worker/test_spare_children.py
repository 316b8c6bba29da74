"""The process that an idle slot starts ahead: which jobs it runs, and that nothing is lost with it."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from masktune.contract.vocabulary import JobKind, JobState, Stage
from tests.integration.worker.conftest import AddJob, JobOf, Script, with_settings
from tests.integration.worker.service import Reference, check_ended_once, kill, open_service
from tests.integration.worker.supervisor.test_supervisor import DONE, TRAINED, processes_of_children
from tests.integration.worker.test_slots import HELD, IMPORT_HELD
from tests.support.waits import wait_until
from worker.child_process import ChildProcess
from worker.protocol import SPARE
from worker.runtime import Runtime
from worker.slots import running_slots
from worker.supervisor.spare_child import SpareChild


def only_child(runtime: Runtime) -> ChildProcess:
    """The one process of a worker with a slot for jobs and one for imports."""
    wait_until(lambda: len(runtime.children) == 1)
    (child,) = runtime.children
    return child


def started_ahead(pid: int) -> bool:
    return SPARE in Path(f"/proc/{pid}/cmdline").read_text().split("\0")


def test_an_idle_slot_keeps_a_process_that_runs_its_next_job(
    runtime: Runtime, add_job: AddJob, job_of: JobOf
) -> None:
    with running_slots(runtime, wait=0.05):
        spare = only_child(runtime)
        assert started_ahead(spare.pid)
        job_id = add_job([*TRAINED[:-1], ("await", "go"), DONE])
        wait_until(lambda: Stage.EVALUATE in job_of(job_id).done)
        assert runtime.children == {spare}, "no spare beside a job"
        (runtime.settings.data_dir / "go").touch()
        wait_until(lambda: job_of(job_id).state is JobState.SUCCEEDED)
        assert only_child(runtime).pid != spare.pid
    assert (runtime.children, processes_of_children()) == (set(), [])


def test_a_spare_has_the_settings_of_its_worker(runtime: Runtime) -> None:
    with running_slots(with_settings(runtime, threads=3), wait=0.05):
        environment = Path(f"/proc/{only_child(runtime).pid}/environ").read_text().split("\0")
    assert "MASKTUNE_THREADS=3" in environment


def test_a_job_loses_no_attempt_with_a_spare_that_was_killed(
    runtime: Runtime, add_job: AddJob, job_of: JobOf, caplog: pytest.LogCaptureFixture
) -> None:
    with running_slots(runtime, wait=0.05):
        spare = only_child(runtime)
        os.kill(spare.pid, signal.SIGKILL)
        wait_until(lambda: spare.returncode is not None)
        job_id = add_job(TRAINED)
        wait_until(lambda: job_of(job_id).state.ended)
    assert (job_of(job_id).state, job_of(job_id).attempt) == (JobState.SUCCEEDED, 1)
    assert "the spare child ended with -9 while it waited" in caplog.text


def test_a_spare_that_cannot_be_started_is_tried_once_before_each_job(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    spare = SpareChild(replace(runtime, child=("/no/such/program",)), enabled=True)
    for _ in range(2):
        spare.start()
    spare.end()
    assert caplog.text.count("no spare child could be started") == 1


@pytest.mark.parametrize(
    ("kind", "changes", "scripts"),
    [
        (JobKind.IMPORT, {"import_slots": 0}, {"script": IMPORT_HELD}),
        (JobKind.ERM, {}, {"script": HELD, "attempt_1": [("exit", 1)]}),
        (JobKind.ERM, {"spare_children": False}, {"script": HELD}),
    ],
    ids=["an import in a slot for all jobs", "a second attempt", "turned off"],
)
def test_these_get_a_new_process(
    kind: JobKind,
    changes: dict[str, int],
    scripts: dict[str, Script],
    runtime: Runtime,
    add_job: AddJob,
    job_of: JobOf,
) -> None:
    with running_slots(with_settings(runtime, **changes), wait=0.05):
        if changes.get("spare_children", True):
            only_child(runtime)
        job_id = add_job(**scripts, kind=kind)
        wait_until(lambda: job_of(job_id).stage is not None)
        assert not started_ahead(only_child(runtime).pid)


@pytest.mark.trains
@pytest.mark.faults
@pytest.mark.slow
def test_a_job_ends_with_the_same_weights_in_a_process_that_was_started_ahead(
    tmp_path: Path, reference: Reference
) -> None:
    service = open_service(tmp_path, reference.store, spare_children=True)
    worker = service.start_worker()
    wait_until(lambda: len(service.children()) == 1, service.log)
    (spare,) = service.children()
    job_id = service.add_held_at(Stage.FINETUNE)
    assert service.children() == [spare]
    service.open_gates()
    check_ended_once(service, service.await_state(job_id, JobState.SUCCEEDED), reference)

    wait_until(lambda: len(service.children()) == 1, service.log)
    kill(worker.pid)
    worker.wait()
    service.await_no_child()
    assert "Traceback" not in service.log()
    service.close()
