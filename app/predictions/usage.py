"""Counts what models were served, in memory, and adds the counts to the database every few seconds.

The counts of a model cover all replicas and must outlive each of them, so they are rows that one statement
adds to. A replica that is killed loses the seconds since its last write. A write per request would cost more
than the prediction. `/metrics` reports this process's own counts since its start, as Prometheus expects;
Prometheus sums over the replicas.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from app.operations.metrics import Metrics
from core.queries import served
from core.queries.served import Key
from masktune.contract.predictions import Prediction
from masktune.contract.vocabulary import AbstainReason, UsageKind
from models.selective import Reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from core.session import Database

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0

ABSTAINED: Mapping[str, UsageKind] = {
    AbstainReason.BELOW_THRESHOLD: UsageKind.BELOW_THRESHOLD,
    AbstainReason.NO_CERTIFIED_THRESHOLD: UsageKind.NO_CERTIFIED_THRESHOLD,
}
ABOVE: tuple[UsageKind, ...] = (UsageKind.ABOVE_50, UsageKind.ABOVE_80, UsageKind.ABOVE_95)
"""Counts in the order of `models.selective.REFERENCES`."""


class UsageBuffer:
    """Counts that are not yet in the database. Thread-safe."""

    def __init__(self) -> None:
        self._waiting: Counter[Key] = Counter()
        self._lock = Lock()
        self._writing = Lock()

    def add(self, counts: Mapping[Key, int]) -> None:
        with self._lock:
            self._waiting.update(counts)

    def flush(self, database: Database) -> None:
        """Write the waiting counts; if the database fails, they keep waiting.

        Flushes run one at a time, so that rows read afterwards include everything counted before, even counts
        that another thread was just writing.
        """
        with self._writing:
            with self._lock:
                counts, self._waiting = self._waiting, Counter()
            try:
                if counts:
                    with database.begin() as session:
                        served.add(session, counts)
            except BaseException:
                self.add(counts)
                raise


class UsageCounters(NamedTuple):
    """What is counted of each served input: for the metrics of this process, and over all processes."""

    metrics: Metrics
    buffer: UsageBuffer

    def add(self, model_id: str, calibration_id: str, counts: Mapping[UsageKind, int]) -> None:
        self.metrics.served(model_id, counts)
        self.buffer.add({Key(model_id, calibration_id, kind): n for kind, n in counts.items() if n})


def count(
    predictions: Sequence[Prediction], scores: Sequence[float], references: Sequence[Reference]
) -> dict[UsageKind, int]:
    """Count the outcomes of these inputs. `scores` use the calibration's own score, whatever was requested.

    A plain dict, because creating a `Counter` costs as much as all the rest.
    """
    counts = {UsageKind.INPUTS: len(predictions)}
    for prediction in predictions:
        reason, agree = prediction.abstain_reason, prediction.agreement.agree
        outcome = UsageKind.ANSWERED if reason is None else ABSTAINED[reason]
        counts[outcome] = counts.get(outcome, 0) + 1
        if agree is not None:
            counts[UsageKind.PAIRS] = counts.get(UsageKind.PAIRS, 0) + 1
            counts[UsageKind.DISAGREEMENTS] = counts.get(UsageKind.DISAGREEMENTS, 0) + (not agree)
    if references:
        for kind, reference in zip(ABOVE, references, strict=True):
            counts[kind] = sum(score >= reference.threshold for score in scores)  # NaN never counts
    return counts


def flush(usage: UsageBuffer, database: Database) -> None:
    """Like `UsageBuffer.flush`, but log errors: the next flush writes the counts."""
    try:
        usage.flush(database)
    except (SQLAlchemyError, OSError) as error:  # e.g. the database restarts
        logger.warning("counts of what was served could not be written and wait: %s", error)
