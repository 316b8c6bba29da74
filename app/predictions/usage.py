"""Counts what models were served, in memory, and adds the counts to the database every few seconds.

The counts of a model cover all replicas and must outlive each of them, so they are rows that one statement
adds to. A replica that is killed loses the seconds since its last write. A write per request would cost more
than the prediction. `/metrics` reports this process's own counts since its start, as Prometheus expects;
Prometheus sums over the replicas.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from app.operations.background import in_background
from app.operations.metrics import Metrics
from core.queries import served
from core.queries.served import Key
from masktune.contract.predictions import Prediction
from masktune.contract.vocabulary import AbstainReason, Counted
from models.selective import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.session import Database

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0

ABSTAINED: Mapping[str, Counted] = {
    AbstainReason.BELOW_THRESHOLD: Counted.BELOW_THRESHOLD,
    AbstainReason.NO_CERTIFIED_THRESHOLD: Counted.NO_CERTIFIED_THRESHOLD,
}
SUREST: tuple[Counted, ...] = (Counted.SUREST_50, Counted.SUREST_80, Counted.SUREST_95)
"""Counts in the order of `models.selective.REFERENCES`."""


class Tally:
    """Counts that are not yet in the database. Thread-safe."""

    def __init__(self) -> None:
        self._waiting: defaultdict[tuple[str, str], Counter[Counted]] = defaultdict(Counter)
        self._lock = Lock()
        self._writing = Lock()

    def add(self, model_id: str, calibration_id: str, counts: Mapping[Counted, int]) -> None:
        with self._lock:
            waiting = self._waiting[model_id, calibration_id]
            for what, number in counts.items():
                waiting[what] += number

    def flush(self, database: Database) -> None:
        """Write the waiting counts; if the database fails, they keep waiting.

        Flushes run one at a time, so that rows read afterwards include everything counted before, even counts
        that another thread was just writing.
        """
        with self._writing:
            with self._lock:
                taken, self._waiting = self._waiting, defaultdict(Counter)
            try:
                self._write(database, taken)
            except BaseException:
                for names, counts in taken.items():
                    self.add(*names, counts)
                raise

    @staticmethod
    def _write(database: Database, taken: Mapping[tuple[str, str], Mapping[Counted, int]]) -> None:
        rows = {
            Key(model_id, calibration_id, what): count
            for (model_id, calibration_id), counts in taken.items()
            for what, count in counts.items()
            if count
        }
        if rows:
            with database.begin() as session:
                served.add(session, rows)


class UsageCounters(NamedTuple):
    """What is counted of each served input: for the metrics of this process, and over all processes."""

    metrics: Metrics
    tally: Tally

    def add(self, model_id: str, calibration_id: str, counts: Mapping[Counted, int]) -> None:
        self.metrics.served(model_id, counts)
        self.tally.add(model_id, calibration_id, counts)


def count(
    predictions: Sequence[Prediction], scores: Sequence[float], references: Sequence[Reference]
) -> dict[Counted, int]:
    """Count the outcomes of these inputs. `scores` use the calibration's own score, whatever was requested.

    A plain dict, because creating a `Counter` costs as much as all the rest.
    """
    found: dict[Counted, int] = {Counted.INPUTS: len(predictions)}
    for prediction in predictions:
        reason, agree = prediction.abstain_reason, prediction.agreement.agree
        outcome = Counted.ANSWERED if reason is None else ABSTAINED[reason]
        found[outcome] = found.get(outcome, 0) + 1
        if agree is not None:
            found[Counted.PAIRS] = found.get(Counted.PAIRS, 0) + 1
            found[Counted.DISAGREEMENTS] = found.get(Counted.DISAGREEMENTS, 0) + (not agree)
    if references:
        for what, reference in zip(SUREST, references, strict=True):
            found[what] = sum(score >= reference.threshold for score in scores)  # NaN never counts
    return found


@asynccontextmanager
async def flushed(tally: Tally, database: Database) -> AsyncIterator[None]:
    """Flush every `FLUSH_SECONDS` while the block runs, and once at its end."""
    try:
        async with in_background(_flush_periodically(tally, database)):
            yield
    finally:
        await asyncio.to_thread(_flush, tally, database)


async def _flush_periodically(tally: Tally, database: Database) -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        await asyncio.to_thread(_flush, tally, database)


def _flush(tally: Tally, database: Database) -> None:
    try:
        tally.flush(database)
    except (SQLAlchemyError, OSError) as error:  # e.g. the database restarts: the next flush writes them
        logger.warning("counts of what was served could not be written and wait: %s", error)
