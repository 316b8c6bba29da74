"""A slot helps another worker's job: its child computes shards while the job runs, and leaves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from core.queries import jobs, leases
from core.queries.leases import Lease
from masktune.contract.vocabulary import EventType, JobState, Stage
from tests.integration.worker.conftest import AddJob, EventsOf, JobOf, Script
from tests.integration.worker.supervisor.test_supervisor import processes_of_children
from tests.integration.worker.test_spare_children import started_ahead
from tests.support.waits import wait_until
from worker.passes.helper import PassHelper
from worker.runtime import Runtime
from worker.shard_tasks import PassSpec, ShardTask
from worker.slots import running_slots, work
from worker.supervisor.spare_child import SpareChild
from worker.workspace import usual_threads

KIND = "cpu"
OPENED = ("say", {"type": "pass_opened", "kind": KIND})
SLEEP = ("sleep", 600)
AddTask = Callable[..., ShardTask]


def finished(number: int, *, double: bool = False) -> tuple[str, object]:
    return "say", {"type": "shard_finished", "number": number, "double": double}


@pytest.fixture
def add_task(runtime: Runtime, add_job: AddJob) -> AddTask:
    """A function that returns a shard of another worker's job; the child of a helper follows the script."""

    def add(script: Script) -> ShardTask:
        job_id = add_job(script)
        with runtime.database.begin() as session:
            row = leases.claim(session, worker="another", lease_seconds=600)
        assert row is not None
        spec = PassSpec(
            stage=Stage.ERM,
            pass_name="network",
            arguments={},
            key=f"jobs/{job_id}/work/features",
            title="features of train",
            kind=KIND,
            threads=1,
        )
        return ShardTask(job_id=job_id, token=row.token, sharded=spec, number=0)

    return add


@pytest.fixture
def helper(runtime: Runtime) -> Iterator[PassHelper]:
    opened = PassHelper(runtime, 0, SpareChild(runtime, enabled=False))
    yield opened
    opened.close()
    assert processes_of_children() == []


def _messages(events_of: EventsOf, job_id: str) -> list[str]:
    return [str(e.data["message"]) for e in events_of(job_id) if e.type == EventType.LOG]


def test_one_child_computes_the_shards_of_a_stage_and_the_job_says_so_once_a_pass(
    runtime: Runtime, helper: PassHelper, add_task: AddTask, events_of: EventsOf
) -> None:
    first = [OPENED, finished(0), ("await", "next"), finished(1, double=True)]
    task = add_task([*first, ("await", "another"), OPENED, finished(0), SLEEP])
    helper.compute(task)
    (child,) = processes_of_children()
    (runtime.settings.data_dir / "next").touch()
    helper.compute(replace(task, number=1))
    assert processes_of_children() == [child]
    assert helper.patience > 0
    (runtime.settings.data_dir / "another").touch()
    helper.compute(replace(task, sharded=replace(task.sharded, key="k", title="features of val")))
    assert processes_of_children() == [child]
    helps = f"worker {runtime.name} helps with features of"
    assert _messages(events_of, task.job_id) == [f"{helps} train", f"{helps} val"]


def test_a_host_of_another_kind_leaves_the_pass_alone_and_remembers(
    helper: PassHelper, add_task: AddTask, events_of: EventsOf
) -> None:
    task = add_task([("say", {"type": "pass_opened", "kind": "another"}), SLEEP])
    assert helper.accepts(task)
    helper.compute(task)
    assert not helper.accepts(task)
    assert processes_of_children() == []
    assert _messages(events_of, task.job_id) == []


@pytest.mark.parametrize("end", [("exit", 1), ("signal", 9)])
def test_a_child_that_ends_costs_the_job_nothing(
    end: tuple[str, int], helper: PassHelper, add_task: AddTask, job_of: JobOf
) -> None:
    task = add_task([OPENED, end])
    helper.compute(task)
    assert not helper.accepts(task)
    assert (job_of(task.job_id).state, job_of(task.job_id).crashes) == (JobState.RUNNING, 0)


def test_what_is_there_is_not_computed(runtime: Runtime, helper: PassHelper, add_task: AddTask) -> None:
    task = add_task([SLEEP])
    with runtime.artifacts.writing(f"{task.sharded.key}/000000") as folder:
        (folder / "part").touch()
    helper.compute(task)
    assert processes_of_children() == []


def _cancel(runtime: Runtime, task: ShardTask) -> None:
    with runtime.database.begin() as session:
        jobs.cancel(session, task.job_id)


def _claim_again(runtime: Runtime, task: ShardTask) -> None:
    with runtime.database.begin() as session:
        leases.release(session, Lease(task.job_id, task.token), reason="worker stopped")


def _succeed(runtime: Runtime, task: ShardTask) -> None:
    with runtime.database.begin() as session:
        leases.end(session, Lease(task.job_id, task.token), JobState.SUCCEEDED)


def _delete(runtime: Runtime, task: ShardTask) -> None:
    _succeed(runtime, task)
    with runtime.database.begin() as session:
        jobs.delete(session, task.job_id)


@pytest.mark.parametrize("end", [_cancel, _claim_again, _succeed, _delete])
def test_a_job_that_no_longer_runs_ends_the_child(
    end: Callable[[Runtime, ShardTask], None],
    runtime: Runtime,
    helper: PassHelper,
    add_task: AddTask,
    events_of: EventsOf,
) -> None:
    task = add_task([OPENED, SLEEP])
    with ThreadPoolExecutor() as pool:
        computing = pool.submit(helper.compute, task)
        wait_until(lambda: len(_messages(events_of, task.job_id)) == 1)
        end(runtime, task)
        computing.result()
    assert processes_of_children() == []


@pytest.mark.parametrize(("end", "left"), [(_cancel, True), (_succeed, False), (_delete, False)])
def test_a_shard_that_is_put_after_the_end_of_its_job_goes(
    end: Callable[[Runtime, ShardTask], None],
    left: bool,
    runtime: Runtime,
    helper: PassHelper,
    add_task: AddTask,
    events_of: EventsOf,
) -> None:
    """Of a job that can be resumed, it stays."""
    task = add_task([OPENED, ("await", "put"), finished(0), SLEEP])
    slow = replace(runtime, settings=runtime.settings.model_copy(update={"control_seconds": 600.0}))
    patient = PassHelper(slow, 0, SpareChild(slow, enabled=False))
    with ThreadPoolExecutor() as pool:
        computing = pool.submit(patient.compute, task)
        wait_until(lambda: len(_messages(events_of, task.job_id)) == 1)
        end(runtime, task)
        with runtime.artifacts.writing(f"{task.sharded.key}/000000") as folder:
            (folder / "part").touch()
        (runtime.settings.data_dir / "put").touch()
        computing.result()
    patient.close()
    folder = Path(runtime.artifacts.root, "jobs", task.job_id, "work")
    assert folder.exists() == left


@pytest.mark.parametrize(("more", "taken"), [(0, True), (1, False)])
def test_a_spare_child_computes_shards_unless_its_threads_differ(
    more: int, taken: bool, runtime: Runtime, add_task: AddTask
) -> None:
    task = add_task([OPENED, finished(0), SLEEP])
    threads = usual_threads(runtime.settings) + more
    task = replace(task, sharded=replace(task.sharded, threads=threads))
    spare = SpareChild(runtime, enabled=True)
    spare.start()
    with closing(PassHelper(runtime, 0, spare)) as helper:
        helper.compute(task)
        (child,) = runtime.children
        assert started_ahead(child.pid) == taken
    assert processes_of_children() == []


def test_a_late_message_of_an_ended_job_starts_nothing(
    runtime: Runtime, helper: PassHelper, add_task: AddTask
) -> None:
    task = add_task([SLEEP])
    _succeed(runtime, task)
    helper.compute(task)
    assert processes_of_children() == []


def test_a_stopping_worker_ends_the_child_at_once(
    runtime: Runtime, helper: PassHelper, add_task: AddTask, events_of: EventsOf
) -> None:
    task = add_task([OPENED, SLEEP])
    with ThreadPoolExecutor() as pool:
        computing = pool.submit(helper.compute, task)
        wait_until(lambda: len(_messages(events_of, task.job_id)) == 1)
        runtime.stopping.set()
        computing.result()
    assert processes_of_children() == []


FAILED = ("say", {"type": "failed", "error": {"detail": "enough"}, "retry": False})


def test_a_queued_job_goes_before_shards_and_gets_the_device(
    runtime: Runtime, add_task: AddTask, add_job: AddJob, job_of: JobOf
) -> None:
    task = add_task([OPENED, finished(0), finished(1), SLEEP])

    def offer(number: int, seconds: float) -> bool:
        return runtime.shards.offer(replace(task, number=number), seconds, runtime.wakeup.call)

    with running_slots(runtime, wait=0.05):
        assert offer(0, 60)
        held = add_job([("say", {"type": "stage_started", "stage": "erm"}), ("await", "go"), FAILED])
        wait_until(lambda: job_of(held).stage is not None)
        (_,) = processes_of_children()  # that of the job: the helper's was given up
        assert not offer(1, 0.2)
        (runtime.settings.data_dir / "go").touch()
        wait_until(lambda: job_of(held).state.ended)
        assert offer(1, 60)
    assert processes_of_children() == []


def test_slots_for_imports_leave_other_shards_alone(runtime: Runtime, add_task: AddTask) -> None:
    task = add_task([OPENED, finished(0)])
    importing = replace(runtime, settings=runtime.settings.model_copy(update={"worker_slots": 0}))
    with running_slots(importing, wait=0.05):
        assert not runtime.shards.offer(task, 0.3, runtime.wakeup.call)


def test_a_supervisor_offers_the_shards_after_what_they_need_is_written(
    runtime: Runtime, add_job: AddJob, events_of: EventsOf
) -> None:
    offered: list[tuple[int, list[str]]] = []
    spec = PassSpec(
        stage=Stage.ERM, pass_name="network", arguments={}, key="k", title="t", kind=KIND, threads=1
    )

    class Recording(type(runtime.notifier)):  # type: ignore[misc]  # of one instance
        def offer_shards(self, shards: list[dict[str, int]]) -> None:
            stages = [e.data["stage"] for e in events_of(job_id) if e.type == EventType.STAGE]
            offered.extend((shard["number"], stages) for shard in shards)

    began = {"type": "pass_began", "sharded": vars(spec), "numbers": [2, 5]}
    job_id = add_job([("say", {"type": "stage_started", "stage": "erm"}), ("say", began), FAILED])
    work(replace(runtime, notifier=Recording("")))
    assert offered == [(2, ["erm"]), (5, ["erm"])]
