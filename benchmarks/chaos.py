"""Jobs under chaos: whatever is killed, every job ends once, with the results of an undisturbed run.

    python -m benchmarks.chaos [--backend embedded servers hosts] [--redis-forgets] [--jobs 100] [--workers 2]

Starts its own service (an API and workers; with SQLite and no broker, or with a PostgreSQL
cluster and a redis-server that it also starts), has one worker run a few small `masktune` jobs and predict
7,188 images undisturbed, then posts many more of these jobs while it randomly

- kills (-9) children, workers, the API (during uploads, too) and Redis, and crashes and restarts PostgreSQL;
- ends PostgreSQL for 30 s in a pass;
- takes some or all shards that are left of a pass and computes none, as helpers do that are killed after each
  take, or that lie;
- stops (SIGSTOP) children, the API and single connections of PostgreSQL for a while, workers for longer than
  their lease, and children for longer than they may be silent;
- restarts workers and the API with SIGTERM, as a rollout does;
- notifies of jobs again, cancels and resumes jobs, and uploads and deletes data sets;
- with `hosts`, lets a third of the requests to S3 fail for a while, and kills and restarts the proxy.

Jobs come in bursts: beside a broker, workers that are idle in between compute shards of the last one.
Meanwhile clients follow every fifth job's events, and predict the same images again and again.

Then it stops and counts: jobs and uploads lost (accepted but not listed, or never accepted), jobs stuck (not
ended), failed, completed twice, models too many or too few, weights or tables that differ from those of the
undisturbed job, events that a follower lost or received twice, decisions that differ from the first of
the same image, data sets that are not ready, files of the store that neither a row nor the trash
names or that are half-written, files that rows name but that are missing, processes left over, and parts that
did not end on SIGTERM. Each must be 0. Beside a broker, other workers must have computed at least 20 shards.

`embedded`, `servers` and `hosts` train with one thread on images of 28 px; `threads` is embedded with two
threads per job and images of 64 px. `hosts` is `servers` as if every part were on a host of its own: the
workers' clocks are two hours apart, artifacts are in S3 (moto), and Caddy is in front of the API.

Not covered: a full or read-only disk, a database that hangs and a Redis that fails over
(tests/integration/worker covers them), a network that loses or delays packets, a host that is lost with its
disk, clocks that jump, imports of models.

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
from benchmarks._chaos_world import PREDICTION, PREDICTOR, Outcome, World
from benchmarks._common import Aim, leave_on_sigterm, load_average, table, work_folder
from benchmarks._needs import need_packages, need_programs, refuse
from masktune.contract.jobs import Job
from masktune.contract.vocabulary import DatasetState, JobState


class Backend(NamedTuple):
    """Whether the service uses real servers, and how its jobs compute."""

    servers: bool
    hosts: bool = False
    threads: int = 1
    side: int = 28
    """The side of an image in pixels."""

    def need(self) -> None:
        """End here, and not hours later, if the machine lacks something."""
        servers = ("redis-server", "initdb", "pg_ctl") if self.servers else ()
        hosts = ("caddy", "faketime") if self.hosts else ()
        need_programs(*servers, *hosts, instead="name other backends with --backend")
        if self.hosts:
            need_packages("moto", "s3fs")


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
    for name in arguments.backend:
        BACKENDS[name].need()
    if arguments.work is not None and arguments.work.exists():
        refuse(f"{arguments.work} is there already: name a new folder with --work")
    leave_on_sigterm()
    rows = []
    with work_folder(arguments.work) as folder:
        for backend in arguments.backend:
            rows.append(_run(folder.resolve() / backend, backend, arguments))
    aims = {f"{row['backend']}/{name}": Aim(row[name], at_most=0) for row in rows for name in WRONGS}
    for row in rows:
        if BACKENDS[row["backend"]].servers:
            aims[f"{row['backend']}/shards_helped"] = Aim(row["shards_helped"], at_least=20)
    print(table([{k: v for k, v in row.items() if k != "strikes"} for row in rows]))
    for row in rows:
        print(f"{row['backend']}: " + ", ".join(f"{n} × {what}" for what, n in row["strikes"].items()))
    ok = all(aim.ok for aim in aims.values())
    targets = {name: aim.to_json() for name, aim in aims.items()}
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
    "results_differ",
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
    """A world, the outcomes of undisturbed jobs in it, and the strikes against it."""

    def __init__(self, world: World, rng: random.Random, pause: float) -> None:
        self.world, self.rng, self.pause = world, rng, pause
        self.strikes = Strikes(world, rng)
        self.references: list[Outcome] = []

    def prepare(self) -> None:
        """Upload the data set, train the model that predicts, and record the outcome of each distinct job, by
        one worker; then start the others.
        """
        world, client = self.world, self.world.client
        world.stack.start(workers=1)
        world.dataset, world.dataset_to_predict = (
            client.datasets.wait(client.datasets.upload(archive, name=archive.stem).id, timeout=120).id
            for archive in (world.archive, world.archive_to_predict)
        )
        trained = self._undisturbed(client.jobs.start("erm", dataset=world.dataset, **PREDICTOR))
        world.predictor = trained.models["erm"]
        jobs = [self._undisturbed(world.start(variant)) for variant in range(PREDICTION + 1)]
        self.references = [world.outcome(world.row(job.id)) for job in jobs]
        world.predict_for_ever(jobs[0].models["masktune"])
        world.stack.start()

    def _undisturbed(self, job: Job) -> Job:
        """The job, once it has ended."""
        ended = self.world.client.jobs.wait(job.id, timeout=900)
        if ended.attempt != 1:
            raise RuntimeError(f"the undisturbed job {job.id} needed {ended.attempt} attempts")
        return ended

    def disturb(self, number: int) -> None:
        """Post `number` jobs, and strike until nine in ten have ended.

        The next ones follow when all but one of the last have ended; other workers help that one meanwhile.
        """
        most = 2 * len(self.world.stack.workers)
        while True:
            if len(self.world.posted) - self.world.ended() <= 1:
                for _ in range(min(self.rng.randint(1, most), number - len(self.world.posted))):
                    self._post(len(self.world.posted))
            time.sleep(self.rng.uniform(0.2, 2.0) * self.pause)
            self.strikes.one()
            posted, ended = len(self.world.posted), self.world.ended()
            self._say(f"{posted} posted, {ended} ended, {sum(self.strikes.done.values())} strikes")
            if posted == number and ended >= 0.9 * number:
                return

    def _post(self, number: int) -> None:
        job_id = self.world.post(number)
        if number % 5 == 0:
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
        listed = {job.id for kind in ("masktune", "predict") for job in world.client.jobs.list(kind=kind)}
        counts = dict.fromkeys(WRONGS, 0)
        attempts = 0
        for job_id, variant in world.posted.items():
            if job_id not in listed:
                counts["lost"] += 1
                continue
            row = world.row(job_id)
            attempts += row.attempt
            counts["stuck"] += not row.state.ended
            counts["failed"] += row.state is JobState.FAILED
            if row.state is JobState.SUCCEEDED:
                outcome, reference = world.outcome(row), self.references[variant]
                counts["results_differ"] += outcome.digests != reference.digests
                counts["twice"] += world.successes(job_id) != 1
                counts["models_wrong"] += outcome.models != reference.models
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
        return {"attempts": attempts, "predicted": world.predicted, **world.shards(), **counts}

    def _say(self, text: str) -> None:
        print(f"  {self.world.stack.folder.name}: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
