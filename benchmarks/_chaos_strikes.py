"""The strikes of benchmarks.chaos against a service. Each returns whether it hit anything."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from benchmarks._chaos_world import World
from masktune import ClientError
from masktune.contract.vocabulary import JobState
from tests.support.servers import ServerProcess

Strike = Callable[[], bool]
_AWAY_SECONDS = 30.0


class Strikes:
    """Strikes chosen at random by weight; separate threads undo them later."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world, self._stack, self._rng = world, world.stack, rng
        self.done: Counter[str] = Counter()
        self.would_not_end = 0
        """Parts that had to be killed because they did not end on SIGTERM."""
        self._later: list[threading.Timer] = []
        self._weights: dict[Strike, int] = {
            self.kill_child: 5,
            self.kill_worker: 4,
            self.kill_api: 2,
            self.stop_child: 2,
            self.hang_child: 1,
            self.stop_worker: 2,
            self.stop_api: 2,
            self.restart_worker: 2,
            self.restart_api: 2,
            self.notify_again: 2,
            self.cancel: 2,
            self.resume: 3,
            self.upload: 2,
            self.delete: 1,
            self.take_shards: 3,
        }
        if self._stack.postgres is not None:
            self._weights |= {self.kill_redis: 2, self.crash_postgres: 1, self.stop_backend: 2}
            self._weights |= {self.end_postgres_in_a_pass: 3}
        if self._stack.store is not None:
            self._weights |= {self.break_store: 4, self.restart_proxy: 2, self.kill_proxy: 2}

    def one(self) -> None:
        strike = self._rng.choices(list(self._weights), list(self._weights.values()))[0]
        with suppress(SQLAlchemyError):  # PostgreSQL is starting, or a connection of it is stopped
            if strike():
                self.done[strike.__name__] += 1

    def settle(self) -> None:
        """Wait until every strike is undone."""
        for timer in self._later:
            timer.join()

    # --- kill -9 --------------------------------------------------------------------------------

    def kill_child(self) -> bool:
        return self._signal_one(list(self._stack.children()), signal.SIGKILL) is not None

    def kill_worker(self) -> bool:
        return self._kill(self._rng.choice(self._stack.workers), 4)

    def kill_api(self) -> bool:
        return self._kill(self._stack.api, 1)

    def kill_redis(self) -> bool:
        return self._kill(self._stack.redis, 2)

    def kill_proxy(self) -> bool:
        return self._kill(self._stack.proxy, 2)

    def _kill(self, part: ServerProcess | None, most_seconds: float) -> bool:
        """Kill a part, and start it again after at most so many seconds."""
        if part is None or not part.alive:
            return False
        part.kill()
        self._after(self._rng.uniform(0, most_seconds), part.start)
        return True

    def crash_postgres(self) -> bool:
        postgres = self._stack.postgres
        if postgres is None:
            return False
        postgres.crash()
        time.sleep(self._rng.uniform(0, 2))
        postgres.start()
        return True

    def end_postgres_in_a_pass(self) -> bool:
        """The job goes on with the shards that it has not given away."""
        postgres = self._stack.postgres
        if postgres is None or self._world.open_pass() is None:
            return False
        postgres.crash()
        time.sleep(_AWAY_SECONDS)
        postgres.start()
        return True

    # --- SIGSTOP: the process exists, but does nothing ---------------------------------------------

    def stop_child(self) -> bool:
        """Stop a child while its worker keeps renewing the lease."""
        return self._stop_one(list(self._stack.children()))

    def hang_child(self) -> bool:
        """Stop a child for longer than it may be silent, so that its worker gives it up.

        It is woken in the end: if its worker was killed in the meantime, it ends itself.
        """
        return self._stop_one(list(self._stack.children()), self._stack.silent_seconds + 15)

    def stop_worker(self) -> bool:
        """Stop a worker for longer than its lease: another takes its job, which it must notice on waking."""
        worker = self._rng.choice(self._stack.workers)
        return self._stop(worker, self._stack.lease_seconds + self._rng.uniform(1, 3))

    def stop_api(self) -> bool:
        """Stop the API and its sweep, its events and, on SQLite, perhaps the lock that all writers need."""
        return self._stop(self._stack.api, self._rng.uniform(1, 6))

    def stop_backend(self) -> bool:
        """Stop a connection's process in PostgreSQL: its client waits, and so do those who need its locks."""
        postgres = self._stack.postgres
        return self._stop_one([] if postgres is None else postgres.backends())

    # --- SIGTERM: a rolling restart ----------------------------------------------------------------

    def restart_worker(self) -> bool:
        return self._restart(self._rng.choice(self._stack.workers))

    def restart_api(self) -> bool:
        return self._restart(self._stack.api)

    def restart_proxy(self) -> bool:
        return self._stack.proxy is not None and self._restart(self._stack.proxy)

    # --- a server that answers, but not as it should ----------------------------------------------

    def break_store(self) -> bool:
        """Let a third of the requests to S3 fail for some seconds: with a 500, or cut off."""
        store, chance = self._stack.store, random.Random(self._rng.random())
        if store is None:
            return False
        from tests.support.object_store import Fault  # needs moto

        store.fail(lambda *_: chance.choice([Fault.INTERNAL_ERROR, Fault.CUT, None, None, None, None]))
        self._after(self._rng.uniform(1, 10), store.recover)
        return True

    def take_shards(self) -> bool:
        """Take shards and compute none, like a helper that is killed after each take, or one that lies."""
        return self._world.take_shards(self._rng.random())

    # --- what users and the queue do ---------------------------------------------------------------

    def notify_again(self) -> bool:
        posted = sorted(self._world.posted)
        for job_id in self._rng.sample(posted, min(10, len(posted))):
            self._world.notifier.notify(job_id)
        return True

    def cancel(self) -> bool:
        going = self._world.in_states(JobState.RUNNING, JobState.QUEUED)
        if not going:
            return False
        with suppress(ClientError):  # it has ended
            self._world.client.jobs.cancel(self._rng.choice(going))
        return True

    def resume(self) -> bool:
        cancelled = self._world.cancelled()
        if not cancelled:
            return False
        with suppress(ClientError):
            self._world.client.jobs.resume(self._rng.choice(cancelled))
        return True

    def upload(self) -> bool:
        """Upload a data set and kill the API before, while or after it stores the file."""
        self._after(self._rng.uniform(0, 0.3), partial(self._kill_for, self._rng.uniform(0, 0.7)))
        self._after(0.0, self._world.upload)
        return True

    def _kill_for(self, seconds: float) -> None:
        """In one thread: on a busy machine, a timer of its own could start the API before it is killed."""
        self._stack.api.kill()
        time.sleep(seconds)
        self._stack.api.start()

    def delete(self) -> bool:
        if not self._world.uploaded:
            return False
        with suppress(ClientError):  # its import is running, or it is gone and the response was lost
            self._world.client.datasets.delete(self._rng.choice(self._world.uploaded))
        return True

    # --- how --------------------------------------------------------------------------------------

    def _signal_one(self, pids: list[int], number: signal.Signals) -> int | None:
        """Signal one of these processes and return its pid."""
        if not pids:
            return None
        pid = self._rng.choice(pids)
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        return pid

    def _stop_one(self, pids: list[int], seconds: float | None = None) -> bool:
        """Stop one of these processes for `seconds`, by default for up to twice a lease."""
        pid = self._signal_one(pids, signal.SIGSTOP)
        if pid is None:
            return False
        self._after(seconds or self._rng.uniform(0, 2 * self._stack.lease_seconds), lambda: _go_on(pid))
        return True

    def _stop(self, part: ServerProcess, seconds: float) -> bool:
        if not part.alive:
            return False
        part.signal(signal.SIGSTOP)
        self._after(seconds, lambda: part.signal(signal.SIGCONT))
        return True

    def _restart(self, part: ServerProcess) -> bool:
        if not part.alive:
            return False
        self._after(0.0, lambda: self._end_and_start(part))
        return True

    def _end_and_start(self, part: ServerProcess) -> None:
        self.would_not_end += not part.end()
        part.start()

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        """Act later on another thread: a stopped worker may hold SQLite's lock, and `action` wait for it."""
        timer = threading.Timer(seconds, action)
        timer.start()
        self._later.append(timer)


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
