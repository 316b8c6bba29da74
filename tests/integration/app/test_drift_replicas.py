"""Replicas count the inputs of one model at once, on PostgreSQL, while others use, judge and delete it."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from app.registry import drift
from app.selective.calibrations import FILE
from app.selective.usage import UsageBuffer
from core.queries import registry, served
from core.queries.served import Key
from core.session import Database
from core.storage.artifacts import Artifacts
from core.tables import DriftRow, ModelRow
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, UsageKind
from models.selective import CalibrationTable, Windows
from models.selective.windows import inputs

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)

CALIBRATION = "cal_1"
USUAL = {UsageKind.INPUTS: 20, UsageKind.ABOVE_50: 10, UsageKind.ABOVE_80: 16, UsageKind.ABOVE_95: 19}
UNUSUAL = {UsageKind.INPUTS: 50}


TABLE = CalibrationTable.build(-np.arange(200.0), np.ones(200, bool)).to_json()
CALIBRATIONS: dict[str, object] = {
    CALIBRATION: {"scores": {"max_softmax": TABLE}},
    "cal_text": {"scores": {"max_softmax": TABLE}, "agreement": {"disagree": "1", "n": 5}},
    "cal_list": ["not", "tables"],
}


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    store = Artifacts(f"file://{tmp_path}/store", cache=tmp_path / "cache")
    for name, tables in CALIBRATIONS.items():
        with store.writing(f"calibrations/{name}") as folder:
            (folder / FILE).write_text(json.dumps(tables))
    return store


@pytest.fixture
def model(database: Database) -> str:
    return _add_model(database, CALIBRATION)


def _add_model(database: Database, calibration_id: str) -> str:
    id = new_id("mdl")
    calibration = {"id": calibration_id, "artifact": f"calibrations/{calibration_id}"}
    fields = {"backbone": "x", "classes": ["a", "b"], "image_size": 28, "artifact": f"models/{id}"}
    with database.begin() as session:
        registry.add(session, ModelRow(id=id, arm=Arm.ERM, calibration=calibration, **fields))
    return id


def _flush(database: Database, artifacts: Artifacts, model: str, counts: dict[UsageKind, int]) -> None:
    replica = UsageBuffer(partial(drift.judge, artifacts))
    replica.add({Key(model, CALIBRATION, what): n for what, n in counts.items()})
    replica.flush(database)


def _status(database: Database, model: str) -> str | None:
    with database.read() as session:
        return (registry.get(session, model).drift or {}).get("status")


def test_no_input_is_lost_or_counted_twice(database: Database, artifacts: Artifacts, model: str) -> None:
    def replica() -> None:
        for _ in range(16):
            _flush(database, artifacts, model, USUAL)

    threads = [threading.Thread(target=replica) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        windows = Windows.from_json(session.get_one(DriftRow, model).windows)
    # 48 times 20 inputs: a window ends with every third.
    assert sum(map(inputs, windows.halves.values())) == 48 * 20
    assert inputs(windows.open) == 0
    assert windows.look_counts == {0: 16, 1: 8, 2: 4, 3: 2, 4: 1}
    assert _status(database, model) == "no_sign_of_drift"


def test_a_job_that_keeps_the_model_does_not_delay_the_counts(
    database: Database, artifacts: Artifacts, model: str
) -> None:
    with database.begin() as session:
        registry.keep(session, [model])
        _flush(database, artifacts, model, UNUSUAL)
    assert _status(database, model) == "drifted"
    with database.read() as session:
        assert registry.count_drifted(session) == 1


def test_counts_of_a_model_that_is_deleted_or_calibrated_anew_are_no_drift(
    database: Database, artifacts: Artifacts, model: str
) -> None:
    _flush(database, artifacts, model, UNUSUAL)
    assert _status(database, model) == "drifted"
    with database.begin() as session:
        row = registry.get(session, model, lock=True)
        assert row.calibration is not None
        row.calibration = row.calibration | {"id": "cal_2"}
    with database.read() as session:
        assert registry.count_drifted(session) == 0
    _flush(database, artifacts, model, UNUSUAL)  # which a replica had counted under the calibration before
    with database.read() as session:
        assert session.get_one(DriftRow, model).calibration_id == CALIBRATION
    with database.begin() as session:
        registry.delete(session, model)
    _flush(database, artifacts, model, UNUSUAL)
    with database.read() as session:
        assert session.get(DriftRow, model) is None


def test_models_whose_drift_cannot_be_judged_do_not_end_the_counts_of_others(
    database: Database, artifacts: Artifacts, caplog: pytest.LogCaptureFixture
) -> None:
    """Of each, the window that it completes begins anew; what it was served is counted."""
    names = {name: _add_model(database, name) for name in CALIBRATIONS}
    replica = UsageBuffer(partial(drift.judge, artifacts))
    for _ in range(4):
        for name, model in names.items():
            replica.add({Key(model, name, what): n for what, n in USUAL.items()})
        replica.flush(database)
    with database.read() as session:
        counts = {name: served.totals(session, model, name, hours=1) for name, model in names.items()}
        rows = {name: session.get(DriftRow, model) for name, model in names.items()}
    four_times = {what: 4 * n for what, n in USUAL.items()}
    assert all(total.counts == four_times for total in counts.values())
    windows = {name: Windows.from_json(row.windows) for name, row in rows.items() if row is not None}
    assert {name: inputs(window.open) for name, window in windows.items()} == {
        CALIBRATION: 20,
        "cal_text": 20,
    }
    assert [window.look_counts for window in windows.values()] == [{0: 1}, {}]
    assert _status(database, names[CALIBRATION]) == "no_sign_of_drift"
    assert _status(database, names["cal_text"]) is None
    messages = [record.getMessage() for record in caplog.records]
    assert sorted(messages) == sorted(
        f"the drift of {names[name]} cannot be judged; its window begins anew"
        for name, times in (("cal_text", 1), ("cal_list", 4))
        for _ in range(times)
    )
