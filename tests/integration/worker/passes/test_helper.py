"""A slot helps a job of another slot: its child computes shards while the job runs, and leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from core.queries import jobs, leases, passes
from core.queries.leases import Lease
from core.slots import ALL_KINDS, IMPORTS
from core.tables import PassRow
from masktune.contract.vocabulary import EventType, JobState, Stage
from tests.integration.worker.conftest import AddJob, EventsOf, JobOf, Script
from tests.integration.worker.supervisor.test_supervisor import processes_of_children
from tests.integration.worker.test_spare_children import started_ahead
from tests.support.waits import wait_until
from worker.passes.helper import PassHelper
from worker.protocol import PassSpec
from worker.runtime import Runtime
from worker.slots import running_slots, work
from worker.supervisor.spare_child import SpareChild
from worker.workspace import usual_threads

KIND = "cpu"
ORDER = ("order", "orders")
SLEEP = ("sleep", 600)


def opened(kind: str = KIND) -> Script:
    return [ORDER, ("say", {"type": "pass_opened", "kind": kind})]


def finished(number: int, *, double: bool = False) -> Script:
    return [ORDER, ("say", {"type": "shard_finished", "number": number, "double": double})]


def shard_ordered(runtime: Runtime) -> bool:
    """Whether a child has read its second order: the first shard, after the pass."""
    path = runtime.settings.data_dir / "orders"
    return path.exists() and len(path.read_text().splitlines()) == 2


@dataclass(frozen=True)
class Helped:
    """A running job of another worker, and its pass."""

    runtime: Runtime
    lease: Lease

    @property
    def job_id(self) -> str:
        return self.lease.job_id

    @property
    def key(self) -> str:
        return f"jobs/{self.job_id}/work/features"

    def open(self, numbers: list[int], *, name: str = "train", threads: int = 1) -> None:
        spec = PassSpec(
            stage=Stage.ERM,
            name="network",
            arguments={},
            key=self.key if name == "train" else f"{self.key}-{name}",
            title=f"features of {name}",
            kind=KIND,
            threads=threads,
        )
        row = PassRow(
            job_id=self.job_id,
            token=self.lease.token,
            key=spec.key,
            spec=asdict(spec),
            numbers=numbers,
            shards=len(numbers),
            taken=0,
        )
        with self.runtime.database.begin() as session:
            passes.open_pass(session, row)

    @property
    def taken(self) -> int:
        with self.runtime.database.read() as session:
            return session.get_one(PassRow, self.job_id).taken


AddHelped = Callable[..., Helped]


@pytest.fixture
def add_helped(runtime: Runtime, add_job: AddJob) -> AddHelped:
    """A function that returns another worker's job with a pass; the child of a helper follows the script."""

    def add(script: Script, numbers: list[int] | None = None, **spec: Any) -> Helped:
        job_id = add_job(script)
        with runtime.database.begin() as session:
            row = leases.claim(session, worker="another", lease_seconds=600)
            assert row is not None
            helped = Helped(runtime, Lease(job_id, row.token))
        helped.open([0] if numbers is None else numbers, **spec)
        return helped

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
    runtime: Runtime, helper: PassHelper, add_helped: AddHelped, events_of: EventsOf
) -> None:
    first, another = [*opened(), *finished(4), *finished(7, double=True)], [*opened(), *finished(0)]
    helped = add_helped([*first, *another, SLEEP], [4, 7])
    assert helper.compute_shard(ALL_KINDS)
    (child,) = processes_of_children()
    assert helper.compute_shard(ALL_KINDS)
    assert not helper.compute_shard(ALL_KINDS), "none is left"
    assert helped.taken == 2
    assert processes_of_children() == [child]
    assert helper.patience > 0
    helped.open([0], name="val")
    assert helper.compute_shard(ALL_KINDS)
    assert processes_of_children() == [child]
    helps = f"worker {runtime.name} helps with features of"
    assert _messages(events_of, helped.job_id) == [f"{helps} train", f"{helps} val"]


def test_a_host_of_another_kind_takes_no_shard_and_remembers(
    helper: PassHelper, add_helped: AddHelped, events_of: EventsOf
) -> None:
    helped = add_helped([*opened("another"), SLEEP])
    assert helper.compute_shard(ALL_KINDS)
    assert helped.taken == 0
    assert processes_of_children() == []
    assert _messages(events_of, helped.job_id) == []
    helped.open([0], name="val")
    assert not helper.compute_shard(ALL_KINDS)


@pytest.mark.parametrize("end", [("exit", 1), ("signal", 9)])
def test_a_child_that_ends_costs_the_job_one_shard_and_no_more(
    end: tuple[str, int], helper: PassHelper, add_helped: AddHelped, job_of: JobOf
) -> None:
    helped = add_helped([*opened(), end], [0, 1, 2])
    assert helper.compute_shard(ALL_KINDS)
    assert not helper.compute_shard(ALL_KINDS)
    assert helped.taken == 1
    assert (job_of(helped.job_id).state, job_of(helped.job_id).crashes) == (JobState.RUNNING, 0)


def test_what_is_there_is_not_computed(runtime: Runtime, helper: PassHelper, add_helped: AddHelped) -> None:
    """The job went on from the last shard while the database was away."""
    helped = add_helped([*opened(), SLEEP])
    with runtime.artifacts.writing(f"{helped.key}/000000") as folder:
        (folder / "part").touch()
    assert helper.compute_shard(ALL_KINDS)
    assert helped.taken == 1


def _cancel(runtime: Runtime, helped: Helped) -> None:
    with runtime.database.begin() as session:
        jobs.cancel(session, helped.job_id)


def _claim_again(runtime: Runtime, helped: Helped) -> None:
    with runtime.database.begin() as session:
        leases.release(session, helped.lease, reason="worker stopped")


def _succeed(runtime: Runtime, helped: Helped) -> None:
    with runtime.database.begin() as session:
        leases.end(session, helped.lease, JobState.SUCCEEDED)


def _delete(runtime: Runtime, helped: Helped) -> None:
    _succeed(runtime, helped)
    with runtime.database.begin() as session:
        jobs.delete(session, helped.job_id)


@pytest.mark.parametrize("end", [_cancel, _claim_again, _succeed, _delete])
def test_a_job_that_no_longer_runs_ends_the_child(
    end: Callable[[Runtime, Helped], None], runtime: Runtime, helper: PassHelper, add_helped: AddHelped
) -> None:
    helped = add_helped([*opened(), ORDER, SLEEP])
    with ThreadPoolExecutor() as pool:
        computing = pool.submit(helper.compute_shard, ALL_KINDS)
        wait_until(lambda: shard_ordered(runtime))
        end(runtime, helped)
        computing.result()
    assert processes_of_children() == []


@pytest.mark.parametrize(("end", "left"), [(_cancel, True), (_succeed, False), (_delete, False)])
def test_a_shard_that_is_put_after_the_end_of_its_job_goes(
    end: Callable[[Runtime, Helped], None],
    left: bool,
    runtime: Runtime,
    add_helped: AddHelped,
) -> None:
    """Of a job that can be resumed, it stays."""
    order, answer = finished(0)
    helped = add_helped([*opened(), order, ("await", "put"), answer, SLEEP])
    slow = replace(runtime, settings=runtime.settings.model_copy(update={"control_seconds": 600.0}))
    patient = PassHelper(slow, 0, SpareChild(slow, enabled=False))
    with ThreadPoolExecutor() as pool:
        computing = pool.submit(patient.compute_shard, ALL_KINDS)
        wait_until(lambda: shard_ordered(runtime))
        end(runtime, helped)
        with runtime.artifacts.writing(f"{helped.key}/000000") as folder:
            (folder / "part").touch()
        (runtime.settings.data_dir / "put").touch()
        computing.result()
    patient.close()
    folder = Path(runtime.artifacts.root, "jobs", helped.job_id, "work")
    assert folder.exists() == left


@pytest.mark.parametrize(("more", "taken"), [(0, True), (1, False)])
def test_a_spare_child_computes_shards_unless_its_threads_differ(
    more: int, taken: bool, runtime: Runtime, add_helped: AddHelped
) -> None:
    add_helped([*opened(), *finished(0), SLEEP], threads=usual_threads(runtime.settings) + more)
    spare = SpareChild(runtime, enabled=True)
    spare.start()
    with closing(PassHelper(runtime, 0, spare)) as helper:
        helper.compute_shard(ALL_KINDS)
        (child,) = runtime.children
        assert started_ahead(child.pid) == taken
    assert processes_of_children() == []


@pytest.mark.parametrize("end", [_cancel, _claim_again, _succeed, _delete])
def test_the_pass_of_a_job_that_no_longer_runs_is_gone(
    end: Callable[[Runtime, Helped], None], runtime: Runtime, helper: PassHelper, add_helped: AddHelped
) -> None:
    helped = add_helped([SLEEP])
    end(runtime, helped)
    assert not helper.compute_shard(ALL_KINDS)
    with runtime.database.read() as session:
        assert session.get(PassRow, helped.job_id) is None


def test_a_stopping_worker_ends_the_child_at_once(
    runtime: Runtime, helper: PassHelper, add_helped: AddHelped
) -> None:
    add_helped([*opened(), ORDER, SLEEP])
    with ThreadPoolExecutor() as pool:
        computing = pool.submit(helper.compute_shard, ALL_KINDS)
        wait_until(lambda: shard_ordered(runtime))
        runtime.stopping.set()
        computing.result()
    assert processes_of_children() == []


FAILED = ("say", {"type": "failed", "error": {"detail": "enough"}, "retry": False})


def test_a_queued_job_goes_before_shards_and_gets_the_device(
    runtime: Runtime, add_helped: AddHelped, add_job: AddJob, job_of: JobOf
) -> None:
    helped = add_helped([*opened(), *finished(0), SLEEP])
    with running_slots(runtime, wait=0.05):
        wait_until(lambda: helped.taken == 1)
        held = add_job([("say", {"type": "stage_started", "stage": "erm"}), ("await", "go"), FAILED])
        wait_until(lambda: job_of(held).stage is not None)
        (_,) = processes_of_children()  # that of the job: the helper's was given up
        helped.open([1], name="val")
        (runtime.settings.data_dir / "go").touch()
        wait_until(lambda: job_of(held).state.ended)
        wait_until(lambda: helped.taken == 1)
    assert processes_of_children() == []


def test_slots_for_imports_leave_other_shards_alone(helper: PassHelper, add_helped: AddHelped) -> None:
    helped = add_helped([*opened(), *finished(0)])
    assert not helper.compute_shard(IMPORTS)
    assert helped.taken == 0


def test_a_supervisor_opens_a_pass_and_gives_its_child_shards(runtime: Runtime, add_job: AddJob) -> None:
    """More than one block; the last answer says that none is left. Then the job's end closes the pass."""
    spec = PassSpec(stage=Stage.ERM, name="network", arguments={}, key="k", title="t", kind=KIND, threads=1)
    began = {"type": "pass_began", "opened": asdict(spec), "numbers": [2, 5, 6]}
    wanted = ("say", {"type": "shards_wanted", "key": "k", "count": 2})
    steps = [("say", {"type": "stage_started", "stage": "erm"}), ("say", began)]
    job_id = add_job([*steps, *[wanted, ("order", "k")] * 3, FAILED])
    calls = runtime.wakeup.calls
    work(runtime)
    lines = (runtime.settings.data_dir / "k").read_text().splitlines()
    assert [json.loads(line)["numbers"] for line in lines] == [[2, 5], [6], []]
    assert runtime.wakeup.calls > calls, "idle slots look at the new pass"
    with runtime.database.read() as session:
        assert session.get(PassRow, job_id) is None
