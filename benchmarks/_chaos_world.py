"""The requests of benchmarks.chaos to its service, and direct reads of rows, events and files."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import re
import sys
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from safetensors.numpy import load_file
from sklearn.datasets import load_digits
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from benchmarks._chaos_parts import Stack
from core.notifications import JobNotifier
from core.queries import events, jobs, passes, trash
from core.queries.leases import Lease
from core.session import Database
from core.settings import Settings
from core.storage.artifacts import Artifacts
from core.tables import DatasetRow, EventRow, JobRow, ModelRow, PassRow, TrashRow
from masktune import Client, ClientError, Retry, Unreachable
from masktune.contract.jobs import Job
from masktune.contract.vocabulary import DatasetState, EventType, JobKind, JobState, Stage
from worker.protocol import SPARE

PREDICTION = 2
"""Each posted job repeats one of so many trainings, by its seed, or this: a prediction of all images."""
FIELDS: dict[str, Any] = {
    "backbone": "small_cnn",
    "epochs": 2,
    "batch_size": 32,
    "masking": {"sigmas": 1.0},
    "finetune": {"epochs": 1},
}
PREDICTOR: dict[str, Any] = {"backbone": "small_cnn", "image_size": 128, "epochs": 1}
"""Of the model that predicts and explains: it takes a few seconds for a shard."""
_COPIES = 4
"""Of each digit that is predicted: its shards last until helpers, which start in seconds, have taken some."""
KINDS = ("uploads", "datasets", "exports", "models", "backbones", "calibrations", "pattern_judges")
"""Folders of the artifacts that rows name; the jobs' own artifacts are in another folder."""
_PATIENT = Retry(attempts=400, longest=1.0)
_DOUBLES = re.compile(r"(\d+) of them by both")
"""Shards of which the log of a job says that a helper had put them first."""


class Outcome(NamedTuple):
    """What a job has made: how many models, and the digests of their weights and of its table."""

    models: int
    digests: dict[str, str]


class World:
    """A stack, and the data sets and jobs that were sent to it."""

    def __init__(self, stack: Stack, *, side: int) -> None:
        self.stack = stack
        settings = {key.lower(): value for key, value in stack.settings.items()}
        self.settings = Settings.model_validate(settings)
        self.database = Database(self.settings.database)
        self.artifacts = Artifacts(self.settings.storage, cache=self.settings.scratch / "cache")
        self.notifier = JobNotifier(self.settings.broker_url)
        self.client = Client(stack.url, retry=_PATIENT)
        self.archive = stack.folder / "digits.zip"
        _write_digits(self.archive, side=side)
        self.archive_to_predict = stack.folder / "digits_to_predict.zip"
        _write_digits(self.archive_to_predict, side=side, copies=_COPIES)
        self.dataset = self.dataset_to_predict = self.predictor = ""
        """Ids of the data set to train on, of that to predict, and of the model that predicts."""
        self.posted: dict[str, int] = {}
        """Job id → its seed, or `PREDICTION`."""
        self.uploaded: list[str] = []
        """Data sets that no job trains on."""
        self.followed: dict[str, list[int]] = {}
        """Job id → numbers of the events that a client received."""
        self.predicted = self.answers_differ = 0
        """Answers to predictions, and those that differ from the first for the same image."""
        self.refused = 0
        """Uploads that failed in the end."""
        self._uploads = itertools.count(1)

    def close(self) -> None:
        self.client.close()
        self.notifier.close()
        self.database.close()

    # --- requests to the API --------------------------------------------------------------------

    def start(self, variant: int, key: str | None = None) -> Job:
        """Start a training with this seed or, if it is `PREDICTION`, that: the last of its burst to run."""
        if variant == PREDICTION:
            return self.client.jobs.predict(
                self.predictor, self.dataset_to_predict, explain=True, priority=-1, idempotency_key=key
            )
        return self.client.jobs.start(
            "masktune", dataset=self.dataset, seed=variant, idempotency_key=key, **FIELDS
        )

    def post(self, number: int) -> str:
        """Retry with an idempotency key until a job is accepted: the API may be down, or die meanwhile."""
        variant = (number // 2 % PREDICTION, PREDICTION)[number % 2]
        self.stack.api.start()
        job = self.start(variant, f"chaos-{number}")
        self.posted[job.id] = variant
        return job.id

    def upload(self) -> None:
        """Like `post`, but on a separate thread: an interrupted upload's key is free only after a minute."""
        key = f"upload-{next(self._uploads)}"
        try:
            dataset = self.client.datasets.upload(self.archive, name=key, idempotency_key=key)
        except ClientError as error:
            print(f"{key} was refused: {error}", file=sys.stderr)
            self.refused += 1
        else:
            self.uploaded.append(dataset.id)

    def follow(self, job_id: str) -> None:
        """Start a thread that receives the job's events until it ends, whatever happens to the connection."""
        received = self.followed[job_id] = []
        thread = threading.Thread(target=self._receive, args=(job_id, received), daemon=True)
        thread.start()

    def _receive(self, job_id: str, received: list[int]) -> None:
        with Client(self.stack.url, retry=_PATIENT) as client:
            for event in client.jobs.events(job_id):
                received.append(event.id)

    def predict_for_ever(self, model_id: str) -> None:
        """Start a thread that predicts the same images again and again, and counts what is not the same."""
        thread = threading.Thread(target=self._predict, args=(model_id,), daemon=True)
        thread.start()

    def _predict(self, model_id: str) -> None:
        decisions: dict[int, tuple[object, ...]] = {}
        # Unreachable for longer than its patience: the run is over.
        with suppress(Unreachable), Client(self.stack.url, retry=_PATIENT) as client:
            for sample in itertools.cycle(range(4)):
                answer = client.predict.sample(model=model_id, dataset=self.dataset, sample=sample)
                self.predicted += 1
                # Scores differ in their last digits once an exported graph answers.
                decision = tuple((each.decision, each.label) for each in answer.predictions)
                self.answers_differ += decision != decisions.setdefault(sample, decision)
                time.sleep(0.5)

    def resume_all(self) -> None:
        for job_id in self.cancelled():
            with suppress(ClientError):
                self.client.jobs.resume(job_id)

    # --- rows -----------------------------------------------------------------------------------

    def row(self, job_id: str) -> JobRow:
        with self.database.read() as session:
            return jobs.get(session, job_id)

    def rows(self) -> list[JobRow]:
        for _ in range(100):
            try:
                with self.database.read() as session:
                    return [jobs.get(session, job_id) for job_id in self.posted]
            except SQLAlchemyError:  # PostgreSQL is starting
                time.sleep(0.2)
        raise RuntimeError("the database does not come back")

    def in_states(self, *states: JobState) -> list[str]:
        return [row.id for row in self.rows() if row.state in states]

    def cancelled(self) -> list[str]:
        return self.in_states(JobState.CANCELLED)

    def ended(self) -> int:
        return sum(row.state.ended for row in self.rows())

    def open_pass(self) -> PassRow | None:
        """The first pass of which a shard is left to take."""
        with self.database.read() as session:
            return next(iter(passes.best(session, list(JobKind))), None)

    def take_shards(self, share: float) -> bool:
        """Take this share of what is left of a pass, as helpers do that die, or that lie and put nothing."""
        opened = self.open_pass()
        if opened is None:
            return False
        with self.database.begin() as session:
            lease, left = Lease(opened.job_id, opened.token), opened.shards - opened.taken
            return bool(passes.take(session, lease, opened.key, max(1, round(share * left))))

    def datasets_not(self, state: DatasetState) -> int:
        with self.database.read() as session:
            return len(session.scalars(select(DatasetRow).where(DatasetRow.state != state)).all())

    def importing(self) -> int:
        with self.database.read() as session:
            importing = select(DatasetRow).where(DatasetRow.state == DatasetState.IMPORTING)
            return len(session.scalars(importing).all())

    def to_delete(self) -> list[str]:
        """Keys in the trash that are due; those that wait for a row that may still come are not."""
        with self.database.read() as session:
            return trash.due(session, older_than=0)

    def successes(self, job_id: str) -> int:
        with self.database.read() as session:
            page = events.page(session, job_id, after=0, limit=100_000)
        return sum(e.type == EventType.STATE and e.data["state"] == "succeeded" for e in page)

    def events_in_order(self, job_id: str) -> bool:
        with self.database.read() as session:
            page = events.page(session, job_id, after=0, limit=100_000)
        return [event.seq for event in page] == list(range(1, len(page) + 1))

    def shards(self) -> dict[str, int]:
        """How many shards helpers computed for jobs, how many were computed twice, and how often the process
        of a helper was killed, by the logs of jobs and workers.
        """
        with self.database.read() as session:
            told = session.scalars(select(EventRow.data).where(EventRow.type == EventType.LOG)).all()
        doubles = sum(int(match[1]) for data in told if (match := _DOUBLES.search(data["message"])))
        logs = "".join(log.read_text() for log in self.stack.folder.glob("worker-*.log"))
        return {
            "shards_helped": logs.count("was computed for another worker"),
            "shards_twice": doubles + logs.count("was computed twice"),
            "helpers_killed": logs.count("the process that computes shards ended"),
        }

    # --- files ----------------------------------------------------------------------------------

    def outcome(self, row: JobRow) -> Outcome:
        """Of the files that a user would download."""
        with self.database.read() as session:
            models = session.query(ModelRow).filter(ModelRow.job_id == row.id).all()
        digests = {model.arm.value: _digest(self.artifacts, model) for model in models}
        if table := row.done.get(Stage.PREDICT):
            file = self.artifacts.file(table["artifact"], table["file"])
            digests["table"] = hashlib.sha256(file.read_bytes()).hexdigest()
        return Outcome(len(models), digests)

    def files_left(self) -> list[str]:
        """Keys of the store that neither a row nor the trash names, half-written files, and work folders: no
        job that has succeeded has one.

        Nothing finishes an upload or an exported graph of a killed API, which is removed after a day: that
        day is over here. Left out is what a killed attempt left under a name that its job had before it was
        resumed.
        """
        self._tidy_a_day_later()
        named, thrown_away, graphs = self._named()
        known = named | thrown_away | graphs
        left = [key for key in self._stored() if key not in known and _whole(key) not in thrown_away]
        work = self.artifacts.fs.glob(f"{self.artifacts.root}/jobs/*/work")
        return [*left, *self._partial(), *work]

    def _tidy_a_day_later(self) -> None:
        root = Path(self.artifacts.root)
        for folder in (*root.glob("uploads/.*"), *root.glob("exports/.*")):
            for path in (*folder.rglob("*"), folder):
                os.utime(path, (0, 0))
        self.artifacts.tidy()

    def files_missing(self) -> list[str]:
        """Keys that rows name although nothing is stored there."""
        stored = set(self._stored())
        return sorted(key for key in self._named()[0] if key not in stored)

    def is_stored(self, path: str) -> bool:
        """Whether there is anything at this path of the store, complete or not."""
        return bool(self.artifacts.fs.exists(f"{self.artifacts.root}/{path}"))

    def _partial(self) -> list[str]:
        """Half-written files of jobs; in S3, uploads of parts that nobody ended."""
        if not self.artifacts.local:
            bucket = self.artifacts.root.partition("/")[0]
            return [upload["Key"] for upload in self.artifacts.fs.list_multipart_uploads(bucket)]
        root = Path(self.artifacts.root)
        return [str(path.relative_to(root)) for path in (root / "jobs").rglob(".*")]

    def _stored(self) -> list[str]:
        fs, root = self.artifacts.fs, self.artifacts.root
        kinds = [kind for kind in KINDS if self.is_stored(kind)]
        paths = [path for kind in kinds for path in fs.ls(f"{root}/{kind}", detail=False)]
        return sorted(path.removeprefix(f"{root}/") for path in paths)

    def _named(self) -> tuple[set[str], set[str], set[str]]:
        """Keys that rows name, those in the trash, and those of exported graphs, which may not exist."""
        with self.database.read() as session:
            sets, models = session.scalars(select(DatasetRow)).all(), session.scalars(select(ModelRow)).all()
            thrown_away = set(session.scalars(select(TrashRow.key)))
        named = {row.artifact for row in sets if row.artifact}
        # The upload of a ready data set has been deleted.
        named |= {
            row.source["upload"]
            for row in sets
            if row.state is not DatasetState.READY and "upload" in row.source
        }
        named |= {key for model in models for key in (model.artifact, model.backbone_artifact) if key}
        stored = [one for model in models for one in (model.calibration, model.pattern_judge) if one]
        named |= {one["artifact"] for one in stored}
        return named, thrown_away, {f"exports/{model.id}" for model in models}

    # --- processes ------------------------------------------------------------------------------

    def orphans(self) -> int:
        """How many of the workers' children are alive although nothing runs, after some seconds to end.

        Each worker keeps one, its spare, which the process of its last job must not be beside.
        An export that the API has started goes on; whether it ends with the API is counted in the end.
        """
        deadline = time.monotonic() + 10
        while (left := self._job_processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        for pid, command in left.items():
            print(f"orphan: {pid} {command}", file=sys.stderr)
        return len(left)

    def _job_processes(self) -> dict[int, str]:
        children = self.stack.children().items()
        spares = [pid for pid, command in children if command.endswith(SPARE)][: len(self.stack.workers)]
        exports = [pid for pid, command in children if "app.inference.engines.export_process" in command]
        return {pid: command for pid, command in children if pid not in (*spares, *exports)}


def _whole(key: str) -> str:
    """The final key of a file written under a hidden name: `models/.mdl_1.x1` → `models/mdl_1`."""
    kind, _, name = key.partition("/")
    return f"{kind}/{name.split('.')[1]}" if name.startswith(".") else key


def _digest(artifacts: Artifacts, model: ModelRow) -> str:
    """SHA-256 of the tensors by name, without the file's header, which contains the job's id."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(artifacts.folder(model.artifact) / "model.safetensors").items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _write_digits(archive: Path, *, side: int, copies: int = 1) -> None:
    """1,797 real digits, low against high, with a red square on most of the low ones; each copy is darker."""
    pixels, labels = load_digits(return_X_y=True)
    with zipfile.ZipFile(archive, "w") as target:
        for index, (digit, label) in enumerate(zip(pixels, labels, strict=True)):
            high = int(label >= 5)
            for copy in range(copies):
                grey = Image.fromarray((digit.reshape(8, 8) * (15 - copy)).astype("uint8"))
                picture = grey.resize((side, side)).convert("RGB")
                if high == (index % 50 == 0):
                    picture.paste((255, 0, 0), (0, 0, side // 7, side // 7))
                stream = io.BytesIO()
                picture.save(stream, "PNG")
                target.writestr(f"{('0-4', '5-9')[high]}/{index:04d}-{copy}.png", stream.getvalue())
