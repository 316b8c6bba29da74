"""Rows of every table that grows, for the pages that `benchmarks.dashboard` visits."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, insert, select

from core.session import Database
from core.tables import (
    DatasetRow,
    DeliveryRow,
    EventRow,
    JobRow,
    ModelRow,
    ReviewImageRow,
    ReviewItemRow,
    Table,
    WebhookRow,
)
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, EventType, JobKind, JobState, ReviewKind
from models.data.packing import encode_png

_STATES = (JobState.SUCCEEDED,) * 16 + (JobState.FAILED,) * 3 + (JobState.CANCELLED,)
_KINDS = (JobKind.ERM, JobKind.MASKTUNE, JobKind.ERM, JobKind.MASKTUNE, JobKind.MASK)
_ARMS = (Arm.ERM, Arm.MASKTUNE, Arm.MASKTUNE_CONTROL)
RARE_KIND, RARE_ARM = JobKind.FINETUNE, Arm.IMPORTED
"""Of the two oldest alone."""
_ERROR = {"title": "The job failed", "status": 500, "detail": "the loss is not a number"}
_STEP = 600.0
"""Seconds between one row of a list and the next."""
_EVENTS = 8
"""Of every job but one, which has the others."""
_AT_A_TIME = 5_000

Row = dict[str, Any]


class Size(NamedTuple):
    """Samples of the data set, and rows beside those of its trainings."""

    samples: int = 200
    jobs: int = 0
    datasets: int = 0
    models: int = 0
    events: int = 0
    reviews: int = 0
    deliveries: int = 0


FULL = Size(
    samples=100_000,
    jobs=10_000,
    datasets=1_000,
    models=5_000,
    events=100_000,
    reviews=10_000,
    deliveries=10_000,
)


class WorldRows:
    """Rows beside those of a training: copies of its own, but for what lists show, filter and order by."""

    def __init__(self, database: Database, training: str, model: str) -> None:
        self.database, self.model, self.now = database, model, time.time()
        self.job = self._first(JobRow, JobRow.id == training)
        self.dataset = self._first(DatasetRow, DatasetRow.id == self.job["dataset_id"])
        self.trained = self._first(ModelRow, ModelRow.id == model)
        events = (EventRow.job_id == training) & (EventRow.type == EventType.PROGRESS)
        self.progress = self._first(EventRow, events)

    def add(self, size: Size, prediction: Row) -> tuple[str, str]:
        """Add all; return the id of the job with the most events, and that of the webhook."""
        jobs, webhook = [new_id("job") for _ in range(size.jobs)], new_id("whk")
        events = dict.fromkeys(jobs, _EVENTS)
        if jobs:
            events[jobs[0]] += max(0, size.events - _EVENTS * len(jobs))
        self._insert(DatasetRow, self._datasets(size.datasets))
        self._insert(JobRow, self._jobs(events))
        self._insert(EventRow, self._events(events))
        self._insert(ModelRow, self._models(size.models, jobs))
        address = {"url": "https://example.org/", "events": ["job.failed"], "secret": "whsec_"}
        self._insert(WebhookRow, [{"id": webhook, **address}])
        self._insert(DeliveryRow, self._deliveries(size.deliveries, webhook))
        reviews = list(self._reviews(size.reviews, prediction))
        self._insert(ReviewItemRow, reviews)
        image = encode_png(np.zeros((28, 28, 3), np.uint8))
        self._insert(ReviewImageRow, [{"item_id": row["id"], "content": image} for row in reviews])
        return (jobs[0] if jobs else str(self.job["id"])), webhook

    def _first(self, table: type[Table], condition: ColumnElement[bool]) -> Row:
        query = select(Table.metadata.tables[table.__tablename__]).where(condition).limit(1)
        with self.database.read() as session:
            return dict(session.execute(query).mappings().one())

    def _insert(self, table: type[Table], rows: Iterable[Row]) -> None:
        rest = iter(rows)
        while some := list(islice(rest, _AT_A_TIME)):
            with self.database.begin() as session:
                session.execute(insert(Table.metadata.tables[table.__tablename__]), some)

    def _at(self, number: int) -> float:
        """When the row of this number was created: each is older than the one before."""
        return self.now - _STEP * (number + 1)

    def _datasets(self, count: int) -> Iterator[Row]:
        for number in range(count):
            own = {"id": new_id("ds"), "name": f"collection {number:04}", "created_at": self._at(number)}
            yield self.dataset | own | {"metadata": {"site": f"site {number % 40:02}"}}

    def _jobs(self, events: Mapping[str, int]) -> Iterator[Row]:
        for number, (id, count) in enumerate(events.items()):
            state = _STATES[number % len(_STATES)]
            kind = RARE_KIND if number + 2 >= len(events) else _KINDS[number % len(_KINDS)]
            at = self._at(number)
            yield self.job | {
                "id": id,
                "kind": kind,
                "state": state,
                "error": _ERROR if state is JobState.FAILED else None,
                "event_seq": count,
                "created_at": at,
                "ended_at": at + 60,
                "thinned_at": at + 120,
                "metadata": {"site": f"site {number % 40:02}"},
            }

    def _events(self, counts: Mapping[str, int]) -> Iterator[Row]:
        """Progress, ten events of each epoch, the last with its figures."""
        for job, count in counts.items():
            for seq in range(1, count + 1):
                progress = {"stage": "erm", "epoch": 1 + seq // 10, "epochs": 1 + count // 10}
                progress["metrics"] = {"loss": 1 / seq, "accuracy": 0.9} if seq % 10 == 9 else {}
                yield self.progress | {"job_id": job, "seq": seq, "data": self.progress["data"] | progress}

    def _models(self, count: int, jobs: Sequence[str]) -> Iterator[Row]:
        for number in range(count):
            yield self.trained | {
                "id": new_id("mdl"),
                "job_id": jobs[number * len(jobs) // count] if jobs else None,
                "arm": RARE_ARM if number + 2 >= count else _ARMS[number % len(_ARMS)],
                "metadata": {"site": f"site {number % 40:02}"},
                "created_at": self._at(number),
            }

    def _deliveries(self, count: int, webhook: str) -> Iterator[Row]:
        for number in range(count):
            at = self._at(number)
            yield {
                "id": new_id("msg"),
                "webhook_id": webhook,
                "type": "job.failed",
                "data": {"id": self.job["id"]},
                "created_at": at,
                "next_attempt_at": None,
                "attempts": 1,
                "last_status": 200,
                "delivered_at": at,
            }

    def _reviews(self, count: int, prediction: Row) -> Iterator[Row]:
        """Half of them wait for an answer, the newer ones; of these, a tenth are of the audit sample."""
        for number in range(count):
            waits, at = number < count // 2, self._at(number)
            kind = ReviewKind.ABSTAINED if number % 10 else ReviewKind.AUDIT
            yield {
                "id": new_id("rev"),
                "model_id": self.model,
                "seq": count - number,
                "kind": kind,
                "sha256": hashlib.sha256(b"%d" % number).hexdigest(),
                "label": prediction["label"],
                "prediction": prediction,
                "bytes": 100,
                "outcome": None if waits else "label",
                "true_label": None if waits else self.trained["classes"][0],
                "answered_by": None if waits else f"key_{number % 20}",
                "answered_at": None if waits else at + 60,
                "created_at": at,
            }
