"""Counts of what was served, on both engines: added to by replicas, summed by the hour, forgotten."""

from __future__ import annotations

import threading

from sqlalchemy import update

from core.queries import registry, served
from core.queries.served import Key
from core.session import Database
from core.tables import ServedRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import UsageKind
from tests.support.rows import model_row


def _add(database: Database, counts: dict[Key, int]) -> None:
    with database.begin() as session:
        served.add(session, counts)


def _total(
    database: Database, model: str, calibration: str = "cal_1", hours: int = 24
) -> dict[UsageKind, int]:
    with database.read() as session:
        return served.totals(session, model, calibration, hours=hours).counts


def test_replicas_add_to_the_same_rows(database: Database) -> None:
    keys = [
        Key(f"mdl_{m}", "cal_1", what) for m in range(3) for what in (UsageKind.INPUTS, UsageKind.ANSWERED)
    ]

    def replica(order: int) -> None:
        for _ in range(20):
            _add(database, dict.fromkeys(keys[::order], 1))

    threads = [threading.Thread(target=replica, args=(order,)) for order in (1, -1, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in range(3):
        assert _total(database, f"mdl_{model}") == {UsageKind.INPUTS: 60, UsageKind.ANSWERED: 60}


def test_models_and_calibrations_are_counted_apart(database: Database) -> None:
    _add(database, {Key("mdl_1", "cal_1", UsageKind.INPUTS): 5, Key("mdl_1", "", UsageKind.INPUTS): 7})
    _add(database, {})
    assert _total(database, "mdl_1") == {UsageKind.INPUTS: 5}
    assert _total(database, "mdl_1", "") == {UsageKind.INPUTS: 7}
    assert _total(database, "mdl_2") == {}


def test_old_hours_are_out_of_the_window_and_then_gone(database: Database) -> None:
    _add(database, {Key("mdl_1", "cal_1", UsageKind.INPUTS): 5})
    with database.begin() as session:
        session.execute(update(ServedRow).values(hour=ServedRow.hour - 30))
    _add(database, {Key("mdl_1", "cal_1", UsageKind.INPUTS): 2})
    assert _total(database, "mdl_1", hours=24) == {UsageKind.INPUTS: 2}
    with database.read() as session:
        both = served.totals(session, "mdl_1", "cal_1", hours=31)
        last = served.totals(session, "mdl_1", "cal_1", hours=24)
    assert both.counts == {UsageKind.INPUTS: 7}
    assert both.first_hour is not None
    assert last.first_hour is not None
    assert last.first_hour - both.first_hour == 30
    with database.begin() as session:
        served.purge(session, older_than=24 * 3600, span=3600)
    assert _total(database, "mdl_1", hours=1000) == {UsageKind.INPUTS: 2}


def test_a_deleted_model_takes_its_counts_along(database: Database) -> None:
    model = new_id("mdl")
    with database.begin() as session:
        row = model_row(id=model, backbone="x", classes=["a"], artifact="models/x")
        registry.add(session, row)
    _add(database, {Key(model, "cal_1", UsageKind.INPUTS): 5, Key("mdl_2", "cal_1", UsageKind.INPUTS): 1})
    with database.begin() as session:
        registry.delete(session, model)
    assert _total(database, model) == {}
    assert _total(database, "mdl_2") == {UsageKind.INPUTS: 1}
