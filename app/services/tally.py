"""What models were served: counted in memory, and added to the database every few seconds.

With several replicas the counts of a model belong to all of them together, and must outlive each: so
they are rows, added to by one statement, and a replica that is killed loses the seconds since its last
writing. Per request a write would cost more than the prediction. `/metrics` tells this process's own
counts from its start, as Prometheus expects, and sums over the replicas itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from threading import Lock
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from app.schemas.predict import Prediction
from app.services.background import in_background
from core.queries import served
from core.queries.served import Key
from core.vocabulary import AbstainReason, Counted
from models.selective import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.deps import Services
    from core.session import Database

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0

ABSTAINED: Mapping[AbstainReason, Counted] = {
    AbstainReason.BELOW_THRESHOLD: Counted.BELOW_THRESHOLD,
    AbstainReason.NO_CERTIFIED_THRESHOLD: Counted.NO_CERTIFIED_THRESHOLD,
}
SUREST: tuple[Counted, ...] = (Counted.SUREST_50, Counted.SUREST_80, Counted.SUREST_95)
"""In the order of `models.selective.REFERENCES`."""


class Tally:
    """Counts that are not in the database yet. Used from any thread."""

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
        """Write what is waiting; it waits on where the database does not take it.

        One at a time: who reads the rows after it finds all that was counted before it, also what another
        thread was just writing.
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


def count(
    predictions: Sequence[Prediction], scores: Sequence[float], references: Sequence[Reference]
) -> dict[Counted, int]:
    """What happened to these inputs. `scores` are by the calibration's own score, whatever was asked for.

    No `Counter`: to make one costs as much as all the rest.
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
            found[what] = sum(score >= reference.threshold for score in scores)  # a NaN is above nothing
    return found


@asynccontextmanager
async def kept(services: Services) -> AsyncIterator[None]:
    """Write every `FLUSH_SECONDS` while the block runs, and once at its end."""
    try:
        async with in_background(_keep_writing(services)):
            yield
    finally:
        await asyncio.to_thread(_write, services)


async def _keep_writing(services: Services) -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        await asyncio.to_thread(_write, services)


def _write(services: Services) -> None:
    try:
        services.tally.flush(services.database)
    except (SQLAlchemyError, OSError) as error:  # a database that restarts: the next time takes them
        logger.warning("counts of what was served could not be written and wait: %s", error)
