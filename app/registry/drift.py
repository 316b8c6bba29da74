"""Drift: compares the inputs that a model was served with its calibration split, by counts."""

from __future__ import annotations

from app.inference import Calibration
from app.predictions.usage import ABOVE, ABSTAINED, UsageBuffer
from app.registry import calibrations
from core.artifacts import Artifacts
from core.queries import served
from core.queries.served import HOUR, Totals
from core.session import Database
from core.tables import ModelRow
from masktune.contract.reject_option import Drift, DriftStatus, DriftTest, Served, ShareOf
from masktune.contract.vocabulary import UsageKind
from models.selective import Comparison, Reference, Share, compare

ALPHA = 0.01
METHOD = "Fisher's exact test of each share, two-sided as twice the smaller tail, Bonferroni over the tests"
_STATEMENTS: dict[DriftStatus, str] = {
    "drifted": "The inputs differ from the calibration split ({names}): its certificates and coverages "
    "should no longer be trusted. Look at the inputs, label some, and calibrate on them "
    "(POST /jobs/evaluate).",
    "no_sign_of_drift": "There is no sign that the {inputs} independent inputs differ from the calibration "
    "split. These tests see only scores and disagreement: that does not prove that nothing has changed.",
    "too_few": "{inputs} independent inputs are too few to tell: no outcome of the tests could have been "
    "drift.",
}


def drift(row: ModelRow, artifacts: Artifacts, usage: UsageBuffer, database: Database, *, days: int) -> Drift:
    """Test for drift over the last `days`. Raises `Conflict` for a model without a calibration."""
    calibration = calibrations.get(row, artifacts)
    name = calibrations.score_name(None, row)
    usage.flush(database)  # counts of this replica; the others may be seconds behind
    with database.read() as session:
        totals = served.totals(session, row.id, calibration.id, hours=24 * days)
    tests = compare(_shares(calibration, calibration.references[name], totals.counts), alpha=ALPHA)
    status = _status(tests)
    drifted = [test.name for test in tests if test.p_adjusted <= ALPHA]
    return Drift(
        model=row.id,
        calibration=calibration.id,
        score_name=name,
        days=days,
        since=None if totals.first_hour is None else float(totals.first_hour * HOUR),
        served=_served(totals),
        tests=[_test(test) for test in tests],
        alpha=ALPHA,
        method=METHOD,
        status=status,
        certificate_trusted=None if status == "too_few" else status != "drifted",
        statement=_STATEMENTS[status].format(names=", ".join(drifted), inputs=_independent(totals.counts)),
    )


def _independent(counts: dict[UsageKind, int]) -> int:
    return counts.get(UsageKind.INPUTS, 0) - counts.get(UsageKind.REPEATS, 0)


def _shares(
    calibration: Calibration, references: tuple[Reference, ...], counts: dict[UsageKind, int]
) -> dict[str, tuple[Share, Share]]:
    inputs, pairs = _independent(counts), counts.get(UsageKind.PAIRS, 0)
    shares = {
        what.value: (reference.answered, Share(counts.get(what, 0), inputs))
        for what, reference in zip(ABOVE, references, strict=True)
    }
    if calibration.disagreement is not None:
        apart = Share(counts.get(UsageKind.DISAGREEMENTS, 0), pairs)
        shares["disagreement"] = (calibration.disagreement, apart)
    return shares


def _status(tests: list[Comparison]) -> DriftStatus:
    if any(test.p_adjusted <= ALPHA for test in tests):
        return "drifted"
    return "no_sign_of_drift" if any(test.decidable for test in tests) else "too_few"


def _test(test: Comparison) -> DriftTest:
    return DriftTest(
        name=test.name,
        calibration=_share(test.calibration),
        deployed=_share(test.deployed),
        p_value=test.p_value,
        p_adjusted=test.p_adjusted,
        drifted=test.p_adjusted <= ALPHA,
    )


def _share(of: Share) -> ShareOf:
    return ShareOf(k=of.k, n=of.n, share=of.k / of.n if of.n else None)


def _served(totals: Totals) -> Served:
    counts = totals.counts
    inputs, answered = counts.get(UsageKind.INPUTS, 0), counts.get(UsageKind.ANSWERED, 0)
    return Served(
        inputs=inputs,
        independent=_independent(counts),
        answered=answered,
        abstained={reason: counts.get(what, 0) for reason, what in ABSTAINED.items()},
        coverage=answered / inputs if inputs else None,
    )
