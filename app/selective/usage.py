"""Counts what models were served, in memory, and adds the counts to the database every few seconds.

The counts of a model cover all replicas and must outlive each of them, so they are rows that one statement
adds to. The same transaction judges whether inputs drift (`app.registry.drift`). A replica that is killed
loses the seconds since its last write. `/metrics` reports this process's own counts since its start.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Annotated, NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.http.deps import opened
from app.operations.metrics import Metrics
from core.queries import served
from core.queries.served import Key
from core.session import Database
from masktune.contract.serving.predictions import Prediction
from masktune.contract.vocabulary import UsageKind
from models.selective import Reference

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0

ABOVE: tuple[UsageKind, ...] = (UsageKind.ABOVE_50, UsageKind.ABOVE_80, UsageKind.ABOVE_95)
"""Counts in the order of `models.selective.REFERENCES`."""


Judge = Callable[[Session, Mapping[Key, int]], None]
"""Judges whether inputs drift, by the counts that are being written."""


class UsageBuffer:
    """Counts that are not yet in the database. Thread-safe. `judge` is called for those that are written."""

    def __init__(self, judge: Judge | None = None) -> None:
        self._judge = judge
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
                        if self._judge is not None:
                            self._judge(session, counts)  # first: a model's deletion locks its row first too
                        served.add(session, counts)
            except BaseException:
                self.add(counts)
                raise


class CountedSubjects:
    """Which subjects this process has counted, for each calibration.
    Thread-safe.

    In memory alone, as hashes under a key of the process. Once `MOST` of a calibration are known, no other
    one counts: the counts stay independent and lose power. Beyond `CALIBRATIONS`, the first is forgotten.
    """

    MOST, CALIBRATIONS = 100_000, 20

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._hashes: dict[str, set[bytes]] = {}
        self._lock = Lock()

    def is_first(self, calibration_id: str, subject: str) -> bool:
        """Whether this is the calibration's first input of the subject; from now on, it is not."""
        name = subject.encode(errors="surrogatepass")
        subject_hash = hashlib.blake2b(name, digest_size=16, key=self._key).digest()
        with self._lock:
            hashes = self._hashes.setdefault(calibration_id, set())
            if len(self._hashes) > self.CALIBRATIONS:
                del self._hashes[next(iter(self._hashes))]
            if subject_hash in hashes or len(hashes) >= self.MOST:
                return False
            hashes.add(subject_hash)
            return True


class UsageCounters(NamedTuple):
    """What is counted of each served input: for the metrics of this process, and over all processes."""

    metrics: Metrics
    buffer: UsageBuffer
    subjects: CountedSubjects

    def independent(self, calibration_id: str, subject: str | None, images: int) -> Sequence[int]:
        """Which of a request's images drift may count: one at random of a subject that this process has not
        counted since the calibration, none of another, and all of a request that names none."""
        if subject is None:
            return range(images)
        return [secrets.randbelow(images)] if self.subjects.is_first(calibration_id, subject) else []

    def add(self, model_id: str, calibration_id: str, counts: Mapping[UsageKind, int]) -> None:
        self.metrics.served(model_id, counts)
        self.buffer.add({Key(model_id, calibration_id, kind): n for kind, n in counts.items() if n})


def count(
    predictions: Sequence[Prediction],
    scores: Sequence[float],
    references: Sequence[Reference],
    independent: Sequence[int],
) -> dict[UsageKind, int]:
    """Count the outcomes of these inputs.
    `scores` use the calibration's own score, whatever was requested. What drift is measured by is counted of
    the `independent` inputs alone, given by their numbers.

    A plain dict, because creating a `Counter` costs as much as all the rest.
    """
    counts = {UsageKind.INPUTS: len(predictions), UsageKind.REPEATS: len(predictions) - len(independent)}
    for prediction in predictions:
        reason = prediction.abstain_reason
        outcome = UsageKind.ANSWERED if reason is None else UsageKind(reason)
        counts[outcome] = counts.get(outcome, 0) + 1
    for number in independent:
        agree = predictions[number].agreement.agree
        if agree is not None:
            counts[UsageKind.PAIRS] = counts.get(UsageKind.PAIRS, 0) + 1
            counts[UsageKind.DISAGREEMENTS] = counts.get(UsageKind.DISAGREEMENTS, 0) + (not agree)
    if references:
        like = [number for number in independent if not _is_unlike(predictions[number])]
        for kind, reference in zip(ABOVE, references, strict=True):
            counts[kind] = sum(scores[number] >= reference.threshold for number in like)  # NaN never counts
    return counts


def _is_unlike(prediction: Prediction) -> bool:
    """Whether the input is unlike the training images: the calibration's tables count none as sure."""
    return prediction.unlike_training is not None and prediction.unlike_training.unlike


def flush(usage: UsageBuffer, database: Database) -> None:
    """Like `UsageBuffer.flush`, but log errors: the next flush writes the counts."""
    try:
        usage.flush(database)
    except (SQLAlchemyError, OSError) as error:  # e.g. the database restarts
        logger.warning("counts of what was served could not be written and wait: %s", error)
    except Exception:  # any error, such as one of a store's driver: the flushes must go on
        logger.exception("counts of what was served could not be written and wait")


UsageDep = Annotated[UsageBuffer, opened("usage")]
