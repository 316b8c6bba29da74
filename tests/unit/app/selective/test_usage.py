"""What is counted of a served image, and how it reaches metrics and rows."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app.operations.metrics import MOST_MODELS, Metrics
from app.selective.usage import ABOVE, CountedSubjects, UsageBuffer, UsageCounters, count
from core.queries import served
from core.schema import upgrade
from core.session import Database
from masktune.contract.serving.predictions import Agreement, Prediction, UnlikeTraining
from masktune.contract.vocabulary import AbstainReason, Decision, UsageKind
from models.selective import REFERENCES, Reference, Share


def _prediction(reason: AbstainReason | None, agree: bool | None) -> Prediction:
    return Prediction(
        decision=Decision.ANSWER if reason is None else Decision.ABSTAIN,
        label="a" if reason is None else None,
        abstain_reason=reason,
        score=0.5,
        candidates=[],
        agreement=Agreement(erm=None, model=None, agree=agree),
    )


REFERENCE = tuple(
    Reference(c, bar, Share(1, 2)) for c, bar in zip(REFERENCES, (-0.1, -0.5, -2.0), strict=True)
)


def test_every_input_is_counted_once_by_its_outcome() -> None:
    predictions = [
        _prediction(None, True),
        _prediction(None, False),
        _prediction(AbstainReason.BELOW_THRESHOLD, None),
        _prediction(AbstainReason.NO_CERTIFIED_THRESHOLD, True),
    ]
    counts = count(predictions, [-0.1, -0.3, math.nan, -9.0], REFERENCE, range(4))
    assert (counts[UsageKind.INPUTS], counts[UsageKind.REPEATS]) == (4, 0)
    outcomes = [UsageKind.ANSWERED, UsageKind.BELOW_THRESHOLD, UsageKind.NO_CERTIFIED_THRESHOLD]
    assert [counts[what] for what in outcomes] == [2, 1, 1]
    assert (counts[UsageKind.PAIRS], counts[UsageKind.DISAGREEMENTS]) == (3, 1)
    assert [counts[what] for what in ABOVE] == [1, 2, 2]


def test_drift_counts_no_input_that_depends_on_another() -> None:
    predictions = [_prediction(None, False), _prediction(None, True), _prediction(None, False)]
    one = count(predictions, [-0.1, -0.3, -9.0], REFERENCE, [1])
    assert (one[UsageKind.INPUTS], one[UsageKind.ANSWERED], one[UsageKind.REPEATS]) == (3, 3, 2)
    assert (one[UsageKind.PAIRS], one[UsageKind.DISAGREEMENTS]) == (1, 0)
    assert [one[what] for what in ABOVE] == [0, 1, 1]
    none = count(predictions, [-0.1, -0.3, -9.0], REFERENCE, [])
    assert none[UsageKind.REPEATS] == 3
    assert not any(none.get(what) for what in (UsageKind.PAIRS, UsageKind.DISAGREEMENTS, *ABOVE))


def test_an_unlike_input_is_counted_as_such_and_never_as_sure() -> None:
    """On the calibration split, those above a threshold are among the others."""
    unlike = UnlikeTraining(distance=0.5, threshold=0.4, unlike=True)
    like = UnlikeTraining(distance=0.4, threshold=0.4, unlike=False)
    abstained = _prediction(AbstainReason.UNLIKE_TRAINING, None)
    predictions = [abstained, _prediction(None, None), _prediction(None, None)]
    predictions = [
        one.model_copy(update={"unlike_training": told})
        for one, told in zip(predictions, (unlike, unlike, like), strict=True)
    ]
    counts = count(predictions, [-0.1, -0.1, -0.1], REFERENCE, range(3))
    assert (counts[UsageKind.UNLIKE_TRAINING], counts[UsageKind.ANSWERED]) == (1, 2)
    assert [counts[what] for what in ABOVE] == [1, 1, 1]


def test_one_image_of_a_subject_counts_for_a_calibration_and_every_image_without_one() -> None:
    counters = UsageCounters(Metrics(), UsageBuffer(), CountedSubjects())
    assert list(counters.independent("cal_1", None, 3)) == [0, 1, 2]
    (counted,) = counters.independent("cal_1", "patient 7", 3)
    assert 0 <= counted < 3
    assert list(counters.independent("cal_1", "patient 7", 3)) == []
    assert len(counters.independent("cal_2", "patient 7", 3)) == 1
    assert len(counters.independent("cal_1", "patient 8", 3)) == 1


def test_a_full_memory_counts_no_further_subject_and_forgets_the_first_calibration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CountedSubjects, "MOST", 2)
    monkeypatch.setattr(CountedSubjects, "CALIBRATIONS", 2)
    subjects = CountedSubjects()
    names = ("a", "b", "c", "c", "a")
    assert [subjects.is_first("cal_1", name) for name in names] == [True, True] + [False] * 3
    assert [subjects.is_first(f"cal_{number}", "a") for number in (2, 3, 3, 1)] == [True, True, False, True]


def test_every_reason_and_every_reference_has_its_word() -> None:
    assert {UsageKind(reason).value for reason in AbstainReason} == set(AbstainReason)
    assert [what.value for what in ABOVE] == [f"surest_{round(100 * c)}" for c in REFERENCES]


KEY = served.Key("mdl_1", "cal_1", UsageKind.INPUTS)


def test_what_could_not_be_written_waits(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/masktune.db"
    counts, database = UsageBuffer(), Database(url)
    counts.add({KEY: 3})
    with pytest.raises(Exception, match="no such table"):
        counts.flush(database)
    counts.add({KEY: 4})
    upgrade(url)
    for _ in range(2):  # the second has nothing to write
        counts.flush(database)
    with database.read() as session:
        found = served.totals(session, "mdl_1", "cal_1", hours=1)
    assert found.counts == {UsageKind.INPUTS: 7}
    database.close()


def test_the_metrics_tell_coverage_reasons_and_disagreement_in_bounded_series() -> None:
    metrics = Metrics()
    counts = {UsageKind.INPUTS: 5, UsageKind.ANSWERED: 3, UsageKind.BELOW_THRESHOLD: 2}
    pairs = {UsageKind.PAIRS: 5, UsageKind.DISAGREEMENTS: 1}
    for number in range(MOST_MODELS + 10):
        metrics.served(f"mdl_{number}", counts | pairs)
    metrics.served("mdl_0", counts)
    text = metrics.render().decode()
    assert 'masktune_predictions_total{model="mdl_0",outcome="answered"} 6.0' in text
    assert 'masktune_predictions_total{model="mdl_0",outcome="below_threshold"} 4.0' in text
    assert 'masktune_predictions_total{model="mdl_0",outcome="no_certified_threshold"} 0.0' in text
    assert 'masktune_predictions_total{model="(other)",outcome="answered"} 30.0' in text
    assert 'masktune_pair_predictions_total{agree="false",model="mdl_0"} 1.0' in text
    assert text.count("masktune_predictions_total{") == (1 + len(AbstainReason)) * (MOST_MODELS + 1)


class Slow(Database):
    """One whose transactions begin when they may."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.entered, self.may = threading.Event(), threading.Event()

    @contextmanager
    def begin(self) -> Iterator[Session]:
        self.entered.set()
        assert self.may.wait(10)
        with super().begin() as session:
            yield session


def test_who_reads_after_a_flush_finds_what_another_thread_was_writing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/masktune.db"
    upgrade(url)
    counts, database = UsageBuffer(), Slow(url)
    counts.add({KEY: 3})

    def read() -> int:
        counts.flush(database)
        with database.read() as session:
            return served.totals(session, "mdl_1", "cal_1", hours=1).counts.get(UsageKind.INPUTS, 0)

    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(counts.flush, database)
        assert database.entered.wait(10)
        reading = threads.submit(read)
        with pytest.raises(TimeoutError):
            reading.result(0.2)
        database.may.set()
        writing.result(10)
        assert reading.result(10) == 3
    database.close()
