"""Jobs under chaos: whatever is killed, every job ends once, with the weights of an undisturbed run.

    python -m benchmarks.chaos [--backend embedded servers hosts] [--redis-forgets] [--jobs 100] [--workers 2]

Starts its own service (an API and workers; with SQLite and no broker, or with a PostgreSQL
cluster and a redis-server that it also starts), runs a few small `masktune` jobs undisturbed, then posts
many more of them while it randomly

- kills (-9) children, workers, the API (during uploads, too) and Redis, and crashes and restarts PostgreSQL;
- stops (SIGSTOP) children, the API and single connections of PostgreSQL for a while, workers for longer than
  their lease, and children for longer than they may be silent;
- restarts workers and the API with SIGTERM, as a rollout does;
- notifies of jobs again, cancels and resumes jobs, and uploads and deletes data sets;
- with `hosts`, lets a third of the requests to S3 fail for a while, and kills and restarts the proxy.

Meanwhile clients follow every fourth job's events, and predict the same images again and again.

Then it stops and counts: jobs and uploads lost (accepted but not listed, or never accepted), jobs stuck (not
ended), failed, completed twice, models too many or too few, weights that differ from those of the undisturbed
job with the same seed, events that a follower lost or received twice, decisions that differ from the first of
the same image, data sets that are not ready, files of the store that neither a row nor the trash
names or that are half-written, files that rows name but that are missing, processes left over, and parts that
did not end on SIGTERM. Each must be 0.

`embedded`, `servers` and `hosts` train with one thread on images of 28 px; `threads` is embedded with two
threads per job and images of 64 px. `hosts` is `servers` as if every part were on a host of its own: the
workers' clocks are two hours apart, artifacts are in S3 (moto), and Caddy is in front of the API.

Not covered: a full or read-only disk, a database that hangs and a Redis that fails over
(tests/integration/worker covers them), a network that loses or delays packets, a host that is lost with its
disk, clocks that jump, jobs over several GPUs, imports of models.

Needs Linux (/proc), for `servers` the programs redis-server, initdb and pg_ctl, and for `hosts` also caddy
and faketime. Everything it starts ends with it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._chaos_parts import Stack, marked
from benchmarks._chaos_strikes import Strikes
from benchmarks._chaos_world import FIELDS, SEEDS, World
from benchmarks._common import leave_on_sigterm, load_average, table, work_folder
from masktune.contract.vocabulary import DatasetState, JobState

_ARMS = 3


class Backend(NamedTuple):
    """Whether the service uses real servers, and how its jobs compute."""

    servers: bool
    hosts: bool = False
    threads: int = 1
    side: int = 28
    """The side of an image in pixels."""


BACKENDS = {
    "embedded": Backend(servers=False),
    "servers": Backend(servers=True),
    "hosts": Backend(servers=True, hosts=True),
    "threads": Backend(servers=False, threads=2, side=64),
}


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--redis-forgets", action="store_true", help="a Redis without an append-only file")
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds between two strikes")
    parser.add_argument("--lease", type=float, default=3.0, help="seconds; a busy machine needs longer ones")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds of quiet to end in")
    parser.add_argument("--seed", type=int, default=0, help="of the strikes")
    parser.add_argument("--work", type=Path, help="keep everything, logs too, in this new folder")
    arguments = parser.parse_args()
    leave_on_sigterm()
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


def _run(folder: Path, name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    mark, backend = uuid.uuid4().hex, BACKENDS[name]
    stack = Stack.open(
        folder,
        mark,
        servers=backend.servers,
        hosts=backend.hosts,
        persistent=not arguments.redis_forgets,
        workers=arguments.workers,
        threads=backend.threads,
        lease=arguments.lease,
    )
    world = World(stack, side=backend.side)
    chaos = Chaos(world, random.Random(arguments.seed), arguments.pause)
    try:
        started = time.monotonic()
        chaos.prepare()
        undisturbed = time.monotonic() - started
        chaos.disturb(arguments.jobs)
        quiet = time.monotonic()
        chaos.calm(arguments.patience)
        counted = chaos.count()
        row = {
            "backend": name,
            "jobs": arguments.jobs,
            "kills": sum(chaos.strikes.done.values()),
            "undisturbed_s": undisturbed,
            "chaos_s": quiet - started - undisturbed,
            "quiet_s": time.monotonic() - quiet,
            **counted,
            "strikes": dict(chaos.strikes.done),
        }
    finally:
        chaos.strikes.settle()
        world.close()
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
    "streams_wrong",
    "answers_differ",
    "not_imported",
    "files_left",
    "files_missing",
    "orphans",
    "would_not_end",
)


class Chaos:
    """A world, the weights of undisturbed jobs in it, and the strikes against it."""

    def __init__(self, world: World, rng: random.Random, pause: float) -> None:
        self.world, self.rng, self.pause = world, rng, pause
        self.strikes = Strikes(world, rng)
        self.references: dict[int, dict[str, str]] = {}

    def prepare(self) -> None:
        """Upload the data set, and record the weights of an undisturbed job for each seed."""
        client = self.world.client
        dataset = client.datasets.upload(self.world.archive, name="digits")
        self.world.dataset = client.datasets.wait(dataset.id, timeout=120).id
        for seed in range(SEEDS):
            job = client.jobs.start("masktune", dataset=dataset.id, seed=seed, **FIELDS)
            ended = client.jobs.wait(job.id, timeout=300)
            if ended.state != "succeeded" or ended.attempt != 1:
                raise RuntimeError(f"the undisturbed job {job.id} is {ended.state}: {ended.error}")
            self.references[seed] = self.world.weights(self.world.row(job.id))
        self.world.predict_for_ever(ended.models["masktune"])

    def disturb(self, number: int) -> None:
        """Post `number` jobs, and strike until nine in ten have ended."""
        while True:
            for _ in range(self.rng.randint(1, 4)):
                if len(self.world.posted) < number:
                    self._post(len(self.world.posted))
            time.sleep(self.rng.uniform(0.2, 2.0) * self.pause)
            self.strikes.one()
            posted, ended = len(self.world.posted), self.world.ended()
            self._say(f"{posted} posted, {ended} ended, {sum(self.strikes.done.values())} strikes")
            if posted == number and ended >= 0.9 * number:
                return

    def _post(self, number: int) -> None:
        job_id = self.world.post(number)
        if number % 4 == 0:
            self.world.follow(job_id)

    def calm(self, patience: float) -> None:
        """Start whatever is down, resume cancelled jobs, and wait until all jobs have ended and deletions
        that a kill interrupted are done.
        """
        self.strikes.settle()
        self.world.stack.start()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            self.world.resume_all()
            if self._is_quiet():
                return
            time.sleep(0.5)

    def _is_quiet(self) -> bool:
        world = self.world
        going = len(world.posted) - world.ended() + len(world.cancelled()) + world.importing()
        return not going and not world.to_delete()

    def count(self) -> dict[str, int]:
        """The number of attempts, and of everything that went wrong, by its name in `WRONGS`."""
        world = self.world
        listed = {job.id for job in world.client.jobs.list(kind="masktune")}
        counts = dict.fromkeys(WRONGS, 0)
        attempts = 0
        for job_id, seed in world.posted.items():
            if job_id not in listed:
                counts["lost"] += 1
                continue
            row = world.row(job_id)
            attempts += row.attempt
            counts["stuck"] += not row.state.ended
            counts["failed"] += row.state is JobState.FAILED
            if row.state is JobState.SUCCEEDED:
                counts["weights_differ"] += world.weights(row) != self.references[seed]
                counts["twice"] += world.successes(job_id) != 1
                counts["models_wrong"] += world.models(job_id) != _ARMS
                counts["files_left"] += world.is_stored(f"jobs/{job_id}/work")
            counts["events_wrong"] += not world.events_in_order(job_id)
        for received in world.followed.values():
            counts["streams_wrong"] += not received or received != list(range(1, len(received) + 1))
        counts["answers_differ"] = world.answers_differ
        # If a retry created a second job, one more job is listed than was posted.
        counts["twice"] += len(listed) - len(self.references) - len(world.posted)
        counts["lost"] += world.refused
        counts["not_imported"] = world.datasets_not(DatasetState.READY)
        for what, keys in (("files_left", world.files_left()), ("files_missing", world.files_missing())):
            counts[what] += len(keys)
            for key in keys:
                print(f"{what}: {key}", file=sys.stderr)
        counts["orphans"] += world.orphans()
        counts["would_not_end"] = self.strikes.would_not_end
        return {"attempts": attempts, "predicted": world.predicted, **counts}

    def _say(self, text: str) -> None:
        print(f"  {self.world.stack.folder.name}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
