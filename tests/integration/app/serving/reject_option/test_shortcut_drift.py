"""The shortcut changes sides: real digits with a red square, a trained pair, and what drift says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from core.settings import Settings
from masktune.contract.vocabulary import JobKind
from models.data.importing.builtin import BuiltinOptions, make_builtin
from models.data.layout import DatasetInfo
from models.data.store import Store
from tests.integration.app.conftest import LOCAL
from tests.support.arrays import Arrays, write_arrays
from tests.support.jobs.bench import opened_bench
from tests.support.jobs.real_jobs import hyperparameters
from tests.support.seeds import shifted

pytestmark = pytest.mark.trains


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, str, Store]]:
    """Settings of a service with a mask-tuned model of biased digits, its id, and the digits."""
    folder = tmp_path_factory.mktemp("digits")
    made = make_builtin("biased-digits", BuiltinOptions(seed=shifted(0), size=16))
    assert made.splits is not None
    assert made.groups is not None
    info = DatasetInfo("digits", "builtin", made.classes, made.group_names)
    half = Arrays(made.images[::2], made.labels[::2], list(made.splits[::2]), made.groups[::2])
    write_arrays(folder / "store", half, info)
    # In so few epochs ERM knows the square and little else.
    params = hyperparameters(image_size=16, epochs=4, batch_size=16, control=False, masking={"sigmas": 2.0})
    with opened_bench(folder, folder / "store") as bench:
        (job,) = bench.succeed(bench.run(JobKind.MASKTUNE, params=params))
        yield bench.runtime.settings, job.models["masktune"], Store.open(folder / "store")


def _serve(client: TestClient, model: str, store: Store, split: str) -> None:
    rows = store.rows(split).tolist()
    for first in range(0, len(rows), 60):
        files = [("file", (f"{row}.png", store.image_bytes(row))) for row in rows[first : first + 60]]
        answer = client.post("/predict", params={"model": model, "max_risk": 0.1}, files=files)
        assert answer.status_code == 200, answer.text


def _drift(client: TestClient, model: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/models/{model}/drift").json()
    return found


def test_the_square_changes_sides_and_the_certificate_is_not_trusted_any_more(
    trained: tuple[Settings, str, Store],
) -> None:
    settings, model, store = trained
    with TestClient(create_app(settings), LOCAL) as client:
        # Images that trained nothing, with the square where it stood in training.
        _serve(client, model, store, "val")
        like = _drift(client, model)
        assert like["served"]["inputs"] == len(store.rows("val"))
        assert (like["status"], like["certificate_trusted"]) == ("no_sign_of_drift", True)

        _serve(client, model, store, "test")  # the square stands on the other class
        other = _drift(client, model)
        tests = {test["name"]: test for test in other["tests"]}
        assert (other["status"], other["certificate_trusted"]) == ("drifted", False)
        assert tests["disagreement"]["drifted"]
        assert tests["disagreement"]["calibration"]["share"] < 0.1
        assert tests["disagreement"]["deployed"]["share"] > 0.2
