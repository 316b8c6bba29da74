"""Two replicas, replaced one after the other under load: no request is lost that a balancer sends on."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.integration.app.serving.conftest import furnished, picture
from tests.integration.app.serving.processes import Replica

pytestmark = pytest.mark.faults

CLIENTS = 4
PICTURES = [picture(number) for number in range(6)]


class Balancer:
    """Takes turns, and sends a request on to the other one where the first is away or says 503."""

    def __init__(self, first: Replica, second: Replica) -> None:
        self._turns = itertools.cycle([(first, second), (second, first)])
        self.sent_on = 0

    def ask(self, http: httpx2.Client, model: str, number: int) -> int:
        """The status of the answer; 0 where neither gave one."""
        status = 0
        for attempt, replica in enumerate(next(self._turns)):
            self.sent_on += attempt
            try:
                answer = http.post(
                    f"{replica.url}/predict",
                    params={"model": model},
                    content=PICTURES[number % 6],
                    headers={"Content-Type": "image/png"},
                    timeout=60,
                )
            except httpx2.TransportError:
                continue
            status = answer.status_code
            if status != 503:
                break
        return status


@pytest.mark.slow
def test_a_rolling_restart_loses_no_request(tmp_path: Path) -> None:
    with furnished(tmp_path) as world:
        pass
    with ExitStack() as stack:
        replicas = [Replica(tmp_path) for _ in range(2)]
        for replica in replicas:
            stack.callback(replica.close)
        for replica in replicas:
            replica.await_ready()
        balancer, stop, starting = Balancer(*replicas), threading.Event(), threading.Event()

        def load(first: int) -> Counter[int]:
            told: Counter[int] = Counter()
            with httpx2.Client() as http:
                for number in itertools.count(first):
                    if stop.is_set():
                        return told
                    told[balancer.ask(http, world.model, number)] += 1
                    if starting.is_set():
                        time.sleep(0.02)  # some load: the new process needs the cores
            return told

        with ThreadPoolExecutor(CLIENTS) as threads:
            clients = [threads.submit(load, n) for n in range(CLIENTS)]
            try:
                codes = [replica.replace(starting) for replica in replicas]
            finally:
                stop.set()
            told = sum((each.result(60) for each in clients), Counter[int]())
    assert codes == [0, 0]
    assert balancer.sent_on > 0, "no request met a replica that was away"
    assert set(told) == {200}
    assert told.total() > 4 * CLIENTS
