"""Drift: whether the inputs that a model was served still are like its calibration split, by counts.

It is judged when counts are written, by whichever process writes them, and what was found stands in the
model's row: every replica reads it there with the model, so that an answer costs no query for it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.inference import Calibration
from app.registry.service import drift_state
from app.selective import calibrations
from app.selective.usage import ABOVE, UsageBuffer
from core.errors import Conflict
from core.queries import registry, served, webhooks
from core.queries.served import HOUR, Key, Totals
from core.session import Database, db_now
from core.storage.artifacts import ArtifactMissing, Artifacts
from core.tables import DriftRow, ModelRow
from masktune.contract.models import DriftState
from masktune.contract.report.text.drift import drift_statement
from masktune.contract.serving.reject_option import Drift, DriftLook, DriftTest, Served
from masktune.contract.vocabulary import AbstainReason, UsageKind, WebhookEvent
from models.selective import ALPHA, DISAGREEMENT, WINDOW, Share, Windows
from models.selective.windows import inputs

logger = logging.getLogger(__name__)

METHOD = (
    "Fisher's exact test of each share, two-sided as twice the smaller tail, Bonferroni over the tests and "
    f"over all looks, whose levels add up to {ALPHA:g}"
)
DAYS = 7
"""How far back the counts go that are shown, by default."""


def judge(artifacts: Artifacts, session: Session, counts: Mapping[Key, int]) -> None:
    """Add inputs to the windows of their models, and compare the windows that they complete.

    Inputs of a model that is deleted or calibrated anew are left out, and so are those of a model whose drift
    is found and not acknowledged. Locks the rows of the models.
    A model that cannot be judged loses the
    inputs of its open window, and is logged.
    """
    for model_id, calibration_id in sorted({key[:2] for key in counts if key.calibration_id}):
        # Neither blocks jobs that keep the model nor is blocked by them.
        row = session.get(ModelRow, model_id, with_for_update={"key_share": True})
        state = None if row is None else drift_state(row)
        if row is None or row.calibration is None or state is None:
            continue
        if row.calibration["id"] != calibration_id or state.status == "drifted":
            continue
        own = {key.what: n for key, n in counts.items() if key[:2] == (model_id, calibration_id)}
        try:
            with session.begin_nested():
                calibration = calibrations.get(row, artifacts)
                _add(session, row, _shares(own, calibration), _expected(row, calibration))
        except ArtifactMissing:  # it is being replaced
            continue
        except SQLAlchemyError:  # of the database, for all models
            raise
        except Exception:  # whatever is wrong with this one
            logger.exception("the drift of %s cannot be judged; its window begins anew", model_id)
            current = _current(session, model_id, calibration_id)
            if current is not None:
                session.refresh(current)  # what failed may have changed it in memory alone
                current.windows = current.windows | {"open": {}}


def acknowledge(
    row: ModelRow, artifacts: Artifacts, usage: UsageBuffer, database: Database, *, caller: str
) -> ModelRow:
    """End the alarm and begin the windows anew; return the row.
    `caller`: id of who acknowledges.

    Acknowledging twice changes nothing. Raises `Conflict` if no drift was found.
    """
    calibrations.get(row, artifacts)
    usage.flush(database)  # what came before must not count after
    with database.begin() as session:
        locked = registry.get(session, row.id, lock=True)
        state = drift_state(locked)
        if state is None or state.found_at is None:
            raise Conflict(f"no drift was found for model {row.id}: there is nothing to acknowledge")
        if state.status == "drifted":
            locked.drift = (locked.drift or {}) | {
                "status": "too_few",
                "acknowledged_at": _now(session),
                "acknowledged_by": caller,
            }
            session.execute(delete(DriftRow).where(DriftRow.model_id == row.id))
    return locked


def drift(
    row: ModelRow, artifacts: Artifacts, usage: UsageBuffer, database: Database, *, days: int = DAYS
) -> Drift:
    """Show what was found, and the counts of the last `days`. Raises `Conflict` without a calibration."""
    usage.flush(database)  # counts of this replica; the others may be seconds behind
    with database.read() as session:
        row = registry.get(session, row.id)  # with what the flush has found
        calibration = calibrations.get(row, artifacts)
        totals = served.totals(session, row.id, calibration.id, hours=24 * days)
        current = _current(session, row.id, calibration.id)
    state = drift_state(row) or DriftState(status="too_few")
    stored_look = None if current is None else current.look
    look = None if stored_look is None else DriftLook.model_validate(stored_look)
    look_tests = [DriftTest.model_validate(test) for test in (stored_look or {}).get("tests", ())]
    waiting = 0 if current is None else inputs(Windows.from_json(current.windows).open)
    return Drift(
        **state.model_dump(),
        model=row.id,
        calibration=calibration.id,
        score_name=calibrations.score_name(None, row),
        days=days,
        since=None if totals.first_hour is None else float(totals.first_hour * HOUR),
        served=_served(totals),
        look=look,
        tests=look_tests,
        open_inputs=waiting,
        window_inputs=WINDOW,
        alpha=ALPHA,
        method=METHOD,
        certificate_trusted=None if state.status == "too_few" else state.status != "drifted",
        statement=drift_statement(
            state,
            look,
            [test.name for test in look_tests if test.drifted],
            open_inputs=waiting,
            window_inputs=WINDOW,
        ),
    )


def _add(session: Session, row: ModelRow, shares: dict[str, Share], expected: dict[str, Share]) -> None:
    assert row.calibration is not None
    calibration_id = row.calibration["id"]
    drift_row = session.get(DriftRow, row.id)
    if drift_row is None:
        drift_row = DriftRow(model_id=row.id)
        session.add(drift_row)
    if drift_row.calibration_id != calibration_id:
        drift_row.calibration_id, drift_row.look = calibration_id, None
        drift_row.windows = Windows().to_json()
    windows = Windows.from_json(drift_row.windows)
    new_looks = windows.look(shares, expected)
    drift_row.windows = windows.to_json()
    if not new_looks:
        return
    now, last = _now(session), new_looks[-1]
    drift_row.look = {"at": now} | last.to_json()
    known = row.drift or {}
    if known.get("calibration") != calibration_id:
        nothing = dict.fromkeys(("found_at", "acknowledged_at", "acknowledged_by"))
        known = {"calibration": calibration_id} | nothing
    if last.drifted:
        row.drift = known | {"status": "drifted", "found_at": now}
        webhooks.publish_of_model(session, WebhookEvent.MODEL_DRIFTED, row, status="drifted")
    elif known.get("status") != "no_sign_of_drift":
        row.drift = known | {"status": "no_sign_of_drift"}


def _current(session: Session, model_id: str, calibration_id: str) -> DriftRow | None:
    drift_row = session.get(DriftRow, model_id)
    return None if drift_row is None or drift_row.calibration_id != calibration_id else drift_row


def _now(session: Session) -> float:
    return session.execute(select(db_now())).scalar_one()


def _independent(counts: Mapping[UsageKind, int]) -> int:
    return counts.get(UsageKind.INPUTS, 0) - counts.get(UsageKind.REPEATS, 0)


def _shares(counts: Mapping[UsageKind, int], calibration: Calibration) -> dict[str, Share]:
    """What was served, by the name of the test."""
    independent = _independent(counts)
    shares = {what.value: Share(counts.get(what, 0), independent) for what in ABOVE}
    if calibration.disagreement is not None:
        shares[DISAGREEMENT] = Share(counts.get(UsageKind.DISAGREEMENTS, 0), counts.get(UsageKind.PAIRS, 0))
    return shares


def _expected(row: ModelRow, calibration: Calibration) -> dict[str, Share]:
    """The same on the calibration split."""
    references = calibration.references[calibrations.score_name(None, row)]
    shares = {what.value: reference.answered for what, reference in zip(ABOVE, references, strict=True)}
    if calibration.disagreement is not None:
        shares[DISAGREEMENT] = calibration.disagreement
    return shares


def _served(totals: Totals) -> Served:
    counts = totals.counts
    inputs, answered = counts.get(UsageKind.INPUTS, 0), counts.get(UsageKind.ANSWERED, 0)
    return Served(
        inputs=inputs,
        independent=_independent(counts),
        answered=answered,
        abstained={reason: counts.get(UsageKind(reason), 0) for reason in AbstainReason},
        coverage=answered / inputs if inputs else None,
    )
