"""Jobs under chaos: whatever is killed, every job ends once, with the weights of an unbroken run.

    python -m benchmarks.chaos [--backend embedded servers] [--redis-forgets] [--jobs 100] [--workers 2]

Starts a service of its own (an API and workers; SQLite and the broker in a folder, or a PostgreSQL
cluster and a redis-server that it starts as well), runs a few small `masktune` jobs undisturbed, then
posts many more of them while at random it kills -9 children, workers, the API and Redis, crashes and
restarts PostgreSQL, stops workers for longer than their lease, rings doorbells again, and cancels jobs
and resumes them. Then it is quiet, and it counts: jobs lost (accepted, but not listed), stuck (not
ended), failed, completed twice, models too many or too few, weights other than the undisturbed job's
with the same seed, files left half-written, processes left over. Each must be 0.

Needs Linux (/proc), and for `servers` the programs redis-server, initdb and pg_ctl. Everything it starts
ends with it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import signal
import sys
import threading
import time
import uuid
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.numpy import load_file
from sklearn.datasets import load_digits
from sqlalchemy.exc import SQLAlchemyError

from benchmarks._chaos_parts import Stack, marked
from benchmarks._common import table, work_folder
from benchmarks._machine import load_average
from client import Client, ClientError, Retry
from core.artifacts import Artifacts
from core.queries import events, jobs, trash
from core.queue import Doorbell
from core.session import Database
from core.settings import Settings
from core.tables import JobRow, ModelRow
from core.vocabulary import EventType, JobState

SEEDS = 3
"""As many different jobs: each of the many is one of them."""
FIELDS: dict[str, Any] = {
    "backbone": "small_cnn",
    "epochs": 2,
    "batch_size": 8,
    "masking": {"sigmas": 1.0},
    "finetune": {"epochs": 1},
}
IMAGES = 160
_ARMS = 3
_LEASE_SECONDS = 3.0
_PATIENT = Retry(attempts=400, longest=1.0)


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--backend", nargs="+", choices=("embedded", "servers"), default=["embedded", "servers"]
    )
    parser.add_argument("--redis-forgets", action="store_true", help="a Redis without an append-only file")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds between two strikes")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds of quiet to end in")
    parser.add_argument("--seed", type=int, default=0, help="of the strikes")
    parser.add_argument("--work", type=Path, help="keep everything, logs too, in this new folder")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # what was started is ended then, too
    rows = []
    with work_folder(arguments.work) as folder:
        for backend in arguments.backend:
            rows.append(_run(folder.resolve() / backend, backend, arguments))
    wrong = {f"{row['backend']}/{name}": row[name] for row in rows for name in WRONGS}
    print(table([{k: v for k, v in row.items() if k != "strikes"} for row in rows]))
    for row in rows:
        print(f"{row['backend']}: " + ", ".join(f"{n} × {what}" for what, n in row["strikes"].items()))
    ok = not any(wrong.values())
    targets = {name: {"value": value, "at_most": 0} for name, value in wrong.items()}
    line = {"benchmark": "chaos", "load_average": load_average(), "figures": rows, "targets": targets}
    print(json.dumps(line | {"seed": arguments.seed, "workers": arguments.workers, "ok": ok}))
    return 0 if ok else 1


def _run(folder: Path, backend: str, arguments: argparse.Namespace) -> dict[str, Any]:
    mark = uuid.uuid4().hex
    stack = Stack.open(
        folder,
        mark,
        servers=backend == "servers",
        persistent=not arguments.redis_forgets,
        workers=arguments.workers,
    )
    chaos = Chaos(stack, random.Random(arguments.seed), arguments.pause)
    try:
        started = time.monotonic()
        chaos.prepare()
        undisturbed = time.monotonic() - started
        chaos.disturb(arguments.jobs)
        quiet = time.monotonic()
        chaos.calm(arguments.patience)
        counted = chaos.count()
        row = {
            "backend": backend,
            "jobs": arguments.jobs,
            "kills": sum(chaos.strikes.values()),
            "undisturbed_s": undisturbed,
            "chaos_s": quiet - started - undisturbed,
            "quiet_s": time.monotonic() - quiet,
            **counted,
            "strikes": dict(chaos.strikes),
        }
    finally:
        chaos.close()
        stack.end()
    time.sleep(1.0)
    left = marked(mark)
    for pid, command in left.items():
        print(f"left over: {pid} {command}", file=sys.stderr)
    return row | {"orphans": row["orphans"] + len(left)}


WRONGS = (
    "lost",
    "stuck",
    "failed",
    "twice",
    "models_wrong",
    "weights_differ",
    "events_wrong",
    "files_left",
    "orphans",
)


class Chaos:
    """A stack, the jobs that it was given, and what was done to it."""

    def __init__(self, stack: Stack, rng: random.Random, pause: float) -> None:
        self.stack, self.rng, self.pause = stack, rng, pause
        given = {key.lower(): value for key, value in stack.settings.items()}
        self.settings = Settings.model_validate(given)
        self.database = Database(self.settings.database)
        self.artifacts = Artifacts(self.settings.storage, cache=self.settings.scratch / "cache")
        self.doorbell = Doorbell(self.settings.broker)
        self.client = Client(f"http://127.0.0.1:{stack.api_port}", retry=_PATIENT)
        self.dataset = ""
        self.references: dict[int, dict[str, str]] = {}
        self.posted: dict[str, int] = {}
        self.strikes: Counter[str] = Counter()
        self._later: list[threading.Timer] = []

    def close(self) -> None:
        for timer in self._later:
            timer.join()
        self.client.close()
        self.doorbell.close()
        self.database.close()

    # --- three phases ---------------------------------------------------------------------------

    def prepare(self) -> None:
        """A data set, and what an unbroken job of each seed makes of it."""
        archive = self.stack.folder / "digits.zip"
        _write_digits(archive)
        dataset = self.client.datasets.upload(archive, name="digits")
        self.dataset = self.client.datasets.wait(dataset.id, timeout=120).id
        for seed in range(SEEDS):
            job = self.client.jobs.start("masktune", dataset=self.dataset, seed=seed, **FIELDS)
            ended = self.client.jobs.wait(job.id, timeout=300)
            if ended.state != "succeeded" or ended.attempt != 1:
                raise RuntimeError(f"the undisturbed job {job.id} is {ended.state}: {ended.error}")
            self.references[seed] = self._weights(self._row(job.id))

    def disturb(self, number: int) -> None:
        """Post `number` jobs, and strike until nine in ten have ended."""
        while True:
            for _ in range(self.rng.randint(1, 4)):
                if len(self.posted) < number:
                    self._post(len(self.posted))
            time.sleep(self.rng.uniform(0.2, 2.0) * self.pause)
            strike = self.rng.choices(*self._strikes())[0]
            if strike():
                self.strikes[strike.__name__] += 1
            ended = self._ended()
            self._say(f"{len(self.posted)} posted, {ended} ended, {sum(self.strikes.values())} strikes")
            if len(self.posted) == number and ended >= 0.9 * number:
                return

    def calm(self, patience: float) -> None:
        """Start whatever is down, resume what was cancelled, and wait until all have ended, and what a kill
        kept somebody from deleting is deleted.
        """
        for timer in self._later:
            timer.join()
        self.stack.start()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            for job_id in self._cancelled():
                with suppress(ClientError):
                    self.client.jobs.resume(job_id)
            if self._ended() == len(self.posted) and not self._cancelled() and not self._to_delete():
                return
            time.sleep(0.5)

    def count(self) -> dict[str, int]:
        """What is wrong."""
        listed = {job.id for job in self.client.jobs.list(kind="masktune")}
        found = dict.fromkeys(WRONGS, 0)
        attempts = 0
        for job_id, seed in self.posted.items():
            if job_id not in listed:
                found["lost"] += 1
                continue
            row = self._row(job_id)
            attempts += row.attempt
            found["stuck"] += not row.state.ended
            found["failed"] += row.state is JobState.FAILED
            if row.state is JobState.SUCCEEDED:
                found["weights_differ"] += self._weights(row) != self.references[seed]
                found["twice"] += self._successes(job_id) != 1
                found["models_wrong"] += self._models(job_id) != _ARMS
                found["files_left"] += self.artifacts.exists(f"jobs/{job_id}/work")
            found["events_wrong"] += not self._events_in_order(job_id)
        # A job that was posted twice, by a retry, would be listed once more than it was posted.
        found["twice"] += len(listed) - len(self.references) - len(self.posted)
        root = Path(self.artifacts.root)
        partial = [p for part in ("jobs", "models", "calibrations") for p in (root / part).rglob(".*")]
        found["files_left"] += len(partial)
        found["orphans"] += self._orphans()
        return {"attempts": attempts, **found}

    # --- strikes: each says whether it hit anything ----------------------------------------------

    def _strikes(self) -> tuple[list[Callable[[], bool]], list[int]]:
        usual: list[tuple[Callable[[], bool], int]] = [
            (self.kill_child, 5),
            (self.kill_worker, 4),
            (self.kill_api, 2),
            (self.stop_worker, 2),
            (self.ring_again, 2),
            (self.cancel, 2),
            (self.resume, 3),
        ]
        if self.stack.redis is not None:
            usual += [(self.kill_redis, 2), (self.crash_postgres, 1)]
        return [strike for strike, _ in usual], [weight for _, weight in usual]

    def kill_child(self) -> bool:
        children = list(self.stack.children())
        if not children:
            return False
        with suppress(ProcessLookupError):
            os.kill(self.rng.choice(children), signal.SIGKILL)
        return True

    def kill_worker(self) -> bool:
        worker = self.rng.choice(self.stack.workers)
        if not worker.alive:
            return False
        worker.kill()
        self._after(self.rng.uniform(0, 4), worker.start)
        return True

    def kill_api(self) -> bool:
        if not self.stack.api.alive:
            return False
        self.stack.api.kill()
        self._after(self.rng.uniform(0, 1), self.stack.api.start)
        return True

    def stop_worker(self) -> bool:
        """Stopped for longer than its lease: another takes its job, and it must notice when it wakes."""
        worker = self.rng.choice(self.stack.workers)
        if not worker.alive:
            return False
        worker.signal(signal.SIGSTOP)
        self._after(_LEASE_SECONDS + self.rng.uniform(1, 3), lambda: worker.signal(signal.SIGCONT))
        return True

    def kill_redis(self) -> bool:
        redis = self.stack.redis
        if redis is None or not redis.alive:
            return False
        redis.kill()
        self._after(self.rng.uniform(0, 2), redis.start)
        return True

    def crash_postgres(self) -> bool:
        postgres = self.stack.postgres
        if postgres is None:
            return False
        postgres.crash()
        time.sleep(self.rng.uniform(0, 2))
        postgres.start()
        return True

    def ring_again(self) -> bool:
        for job_id in self.rng.sample(sorted(self.posted), min(10, len(self.posted))):
            self.doorbell.ring(job_id)
        return True

    def cancel(self) -> bool:
        going = self._in_states(JobState.RUNNING, JobState.QUEUED)
        if not going:
            return False
        with suppress(ClientError):  # it ended meanwhile
            self.client.jobs.cancel(self.rng.choice(going))
        return True

    def resume(self) -> bool:
        cancelled = self._cancelled()
        if not cancelled:
            return False
        with suppress(ClientError):
            self.client.jobs.resume(self.rng.choice(cancelled))
        return True

    # --- the rest ----------------------------------------------------------------------------------

    def _post(self, number: int) -> None:
        """With a key, again and again until somebody has taken it: the API may be down, or die meanwhile."""
        seed = number % SEEDS
        self.stack.api.start()
        job = self.client.jobs.start(
            "masktune", dataset=self.dataset, seed=seed, idempotency_key=f"chaos-{number}", **FIELDS
        )
        self.posted[job.id] = seed

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        """On a thread of its own: a stopped worker may hold SQLite's lock, and this one wait for it."""
        timer = threading.Timer(seconds, action)
        timer.start()
        self._later.append(timer)

    def _row(self, job_id: str) -> JobRow:
        with self.database.read() as session:
            return jobs.get(session, job_id)

    def _rows(self) -> list[JobRow]:
        for _ in range(100):
            try:
                with self.database.read() as session:
                    return [jobs.get(session, job_id) for job_id in self.posted]
            except SQLAlchemyError:  # PostgreSQL is on its way up
                time.sleep(0.2)
        raise RuntimeError("the database does not come back")

    def _in_states(self, *states: JobState) -> list[str]:
        return [row.id for row in self._rows() if row.state in states]

    def _cancelled(self) -> list[str]:
        return self._in_states(JobState.CANCELLED)

    def _to_delete(self) -> list[str]:
        with self.database.read() as session:
            return trash.due(session, older_than=0)

    def _ended(self) -> int:
        return sum(row.state.ended for row in self._rows())

    def _weights(self, row: JobRow) -> dict[str, str]:
        """The digest of each model's file: what a user would download."""
        with self.database.read() as session:
            models = session.query(ModelRow).filter(ModelRow.job_id == row.id).all()
        return {model.arm.value: _digest(self.artifacts, model) for model in models}

    def _models(self, job_id: str) -> int:
        with self.database.read() as session:
            return session.query(ModelRow).filter(ModelRow.job_id == job_id).count()

    def _successes(self, job_id: str) -> int:
        with self.database.read() as session:
            told = events.page(session, job_id, after=0, limit=100_000)
        return sum(e.type == EventType.STATE and e.data["state"] == "succeeded" for e in told)

    def _events_in_order(self, job_id: str) -> bool:
        with self.database.read() as session:
            told = events.page(session, job_id, after=0, limit=100_000)
        return [event.seq for event in told] == list(range(1, len(told) + 1))

    def _orphans(self) -> int:
        """Children that are still there when nothing runs; given a moment to end."""
        deadline = time.monotonic() + 10
        while (left := self.stack.children()) and time.monotonic() < deadline:
            time.sleep(0.2)
        for pid, command in left.items():
            print(f"orphan: {pid} {command}", file=sys.stderr)
        return len(left)

    def _say(self, text: str) -> None:
        print(f"  {self.stack.folder.name}: {text}", file=sys.stderr, flush=True)


def _digest(artifacts: Artifacts, model: ModelRow) -> str:
    """SHA-256 of the tensors by name: the file's own header has the job's id."""
    found = hashlib.sha256()
    for name, tensor in sorted(load_file(artifacts.folder(model.artifact) / "model.safetensors").items()):
        found.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        found.update(tensor.tobytes())
    return found.hexdigest()


def _write_digits(archive: Path) -> None:
    """Real digits, low against high, with a red square on nearly all of the low ones."""
    pixels, labels = load_digits(return_X_y=True)
    with zipfile.ZipFile(archive, "w") as target:
        for index, (digit, label) in enumerate(zip(pixels[:IMAGES], labels[:IMAGES], strict=True)):
            picture = (
                Image.fromarray((digit.reshape(8, 8) * 15).astype("uint8")).resize((28, 28)).convert("RGB")
            )
            high = int(label >= 5)
            if high == (index % 50 == 0):
                picture.paste((255, 0, 0), (0, 0, 4, 4))
            stream = io.BytesIO()
            picture.save(stream, "PNG")
            target.writestr(f"{('0-4', '5-9')[high]}/{index:04d}.png", stream.getvalue())


if __name__ == "__main__":
    sys.exit(main())
