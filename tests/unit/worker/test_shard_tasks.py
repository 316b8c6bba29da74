"""A shard is handed from the broker's thread to one slot that accepts it, or stays with the broker."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from masktune.contract.vocabulary import Stage
from worker.shard_tasks import PassSpec, ShardExchange, ShardTask

SPEC = PassSpec(
    stage=Stage.PREDICT,
    pass_name="predictions",
    arguments={"split": "train", "model": None},
    key="jobs/job_1/work/predictions",
    title="predictions",
    kind="cpu",
    threads=2,
)
TASK = ShardTask(job_id="job_1", token=3, sharded=SPEC, number=7)


def test_a_task_is_the_same_after_json() -> None:
    assert ShardTask.from_json(TASK.to_json()) == TASK


def test_a_slot_that_waits_takes_what_is_offered() -> None:
    exchange = ShardExchange()
    with ThreadPoolExecutor() as pool:
        task = pool.submit(exchange.take, lambda _: True, 60)
        assert exchange.offer(TASK, 60, lambda: None)
        assert task.result() == TASK


def test_who_is_woken_finds_the_shard_on_offer() -> None:
    exchange, woken = ShardExchange(), threading.Event()
    with ThreadPoolExecutor() as pool:
        offered = pool.submit(exchange.offer, TASK, 60, woken.set)
        assert woken.wait(60)
        assert exchange.take(lambda _: True, 0) == TASK
        assert offered.result()


def test_what_no_slot_accepts_is_not_held_back() -> None:
    exchange = ShardExchange()
    with ThreadPoolExecutor() as pool:
        refused = pool.submit(exchange.take, lambda _: False, 0.2)
        assert not exchange.offer(TASK, 0.1, lambda: None)
        assert refused.result() is None
    assert exchange.take(lambda _: True, 0) is None
