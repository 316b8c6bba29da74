"""Lists of data sets, jobs and models by name, creator, metadata, time and a text, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from core.queries import registry
from core.tables import DatasetRow, JobRow, ModelRow
from masktune.cli.main import app
from masktune.contract.ids import new_id
from masktune.contract.vocabulary import Arm, DatasetState, JobKind, JobState
from tests.integration.app.conftest import Front, Listen, pages
from tests.support.rows import dataset_row, model_row

# Each has its own way to search JSON and to keep a time.
both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)

LISTS = ("datasets", "jobs", "models")
START = datetime(2025, 11, 3, 9, 30, tzinfo=UTC)
KEYS = ("key_06d4k3w8s0q6v7yx3n5m9a1b2c", "key_06d4k3w8s0q6v7yx3n5m9a1b2d")
METADATA = ({"site": "Bern", "lens": "50 mm"}, {"site": "Bern"}, {"site": "Genève"}, {'a "b" \\c.d': "é%_'"})


def add_rows(front: Front, kind: str) -> list[str]:
    """Add eight resources, the oldest first, a minute apart; return their ids in this order."""
    ids = []
    for number in range(8):
        fields: dict[str, Any] = {
            "name": ("night", "Night", "day", "night birds")[number // 2],
            "user_metadata": METADATA[number % 4],
            "created_by": KEYS[number % 2],
            "created_at": (START + timedelta(minutes=number)).timestamp(),
        }
        row: DatasetRow | JobRow | ModelRow
        if kind == "datasets":
            fields |= {"state": DatasetState.IMPORTING, "format": "auto", "source": {}, "options": {}}
            row = DatasetRow(id=new_id("ds"), job_id=new_id("job"), **fields)
        elif kind == "jobs":
            row = JobRow(id=new_id("job"), kind=JobKind.ERM, state=JobState.CANCELLED, params={}, **fields)
        else:
            fields |= {"arm": Arm.ERM, "backbone": "resnet32", "classes": ["a", "b"], "image_size": 32}
            row = ModelRow(id=new_id("mdl"), artifact="models/none", **fields)
        ids.append(row.id)
        with front.services.database.begin() as session:
            session.add(row)
    return ids


def minute(number: int) -> str:
    return (START + timedelta(minutes=number)).isoformat()


@both_databases
def test_filters_of_a_list_must_all_hold(front: Front) -> None:
    cases: list[tuple[dict[str, str], list[int]]] = [
        ({"name": "night"}, [1, 0]),
        ({"name": "nigh"}, []),
        ({"created_by": KEYS[0]}, [6, 4, 2, 0]),
        ({"metadata.site": "Bern"}, [5, 4, 1, 0]),
        ({"metadata.site": "Bern", "metadata.lens": "50 mm"}, [4, 0]),
        ({"metadata.site": "Genève"}, [6, 2]),
        ({"metadata.site": "bern"}, []),
        ({'metadata.a "b" \\c.d': "é%_'"}, [7, 3]),
        ({"metadata.lens": ""}, []),
        ({"created_after": minute(2), "created_before": minute(5)}, [4, 3, 2]),
        ({"created_after": "2025-11-03T11:35:00+02:00"}, [7, 6, 5]),
        ({"metadata.site": "Bern", "created_by": KEYS[1], "name": "day"}, [5]),
        ({"q": "NIGHT"}, [7, 6, 3, 2, 1, 0]),
        ({"q": "t b"}, [7, 6]),
        ({"q": "GENÈVE"}, [6, 2]),
        ({"q": "%_"}, [7, 3]),
        ({"q": "site"}, []),
        ({"q": "bern", "created_after": minute(1), "created_before": minute(5)}, [4, 1]),
    ]
    for kind in LISTS:
        ids = add_rows(front, kind)
        for query, expected in cases:
            listed = front.client.get(f"/{kind}", params=query).json()["data"]
            assert [entry["id"] for entry in listed] == [ids[number] for number in expected], (kind, query)
        of_id = front.client.get(f"/{kind}", params={"q": ids[3].upper()}).json()["data"]
        assert [entry["id"] for entry in of_id] == [ids[3]]
        filtered = pages(front.client, f"/{kind}", limit=2, **{"metadata.site": "Bern"})
        assert [entry["id"] for entry in filtered] == [ids[number] for number in (5, 4, 1, 0)], kind


@both_databases
def test_a_created_at_that_was_read_is_a_bound_of_its_own_row(front: Front) -> None:
    job = front.job()
    for fraction in (0.426, 0.4259996, 0.4259998, 0.4260003, 0.4268):
        with front.services.database.begin() as session:
            session.execute(update(JobRow).values(created_at=START.timestamp() + fraction))
        created_at = front.client.get(f"/jobs/{job}").json()["created_at"]
        for bound, listed in (("created_after", [job]), ("created_before", [])):
            data = front.client.get("/jobs", params={bound: created_at}).json()["data"]
            assert [entry["id"] for entry in data] == listed


def test_jobs_and_models_are_searched_by_the_name_of_their_data_set(front: Front) -> None:
    dataset = front.dataset()
    front.client.patch(f"/datasets/{dataset}", json={"name": "Zürich 100%"})
    of_it = {"jobs": front.job(dataset_id=dataset), "models": front.model(dataset)}
    front.job(name="100 epochs")
    front.model(None, name="100 epochs")
    for kind, id in of_it.items():
        listed = front.client.get(f"/{kind}", params={"q": "zÜrich 100%"}).json()["data"]
        assert [entry["id"] for entry in listed] == [id]


def test_one_line_brings_the_job_of_last_week_among_200_and_names_stand_for_ids(listen: Listen) -> None:
    server = listen(allowed_hosts="127.0.0.1")
    week_ago = datetime.now(UTC) - timedelta(days=7)
    ended: dict[str, Any] = {"kind": JobKind.ERM, "state": JobState.CANCELLED, "params": {}}
    rows = [JobRow(id=new_id("job"), **ended) for _ in range(200)]
    pilot = rows[150]
    pilot.name, pilot.created_at = "Pilot, clinic X", week_ago.timestamp()
    twins = [dataset_row(name="twins", created_at=pilot.created_at) for _ in range(2)]
    first, best = model_row(name="first"), model_row(name="best")
    with server.services.database.begin() as session:
        session.add_all([*rows, *twins, first, best])
        session.flush()
        registry.move_alias(session, "best", first.id)

    def masktune(*command: str) -> str:
        url = f"http://127.0.0.1:{server.address[1]}"
        return CliRunner().invoke(app, [*command], env={"MASKTUNE_URL": url, "COLUMNS": "200"}).output

    day = week_ago.astimezone().date()
    for options in (["--search", "PILOT"], ["--after", f"{day}", "--before", f"{day + timedelta(days=1)}"]):
        listed = masktune("jobs", "list", *options)
        assert (listed.count("job_"), pilot.id in listed) == (1, True), listed

    assert pilot.id in masktune("jobs", "edit", "Pilot, clinic X", "--name", "pilot")
    assert pilot.id in masktune("jobs", "show", "pilot")
    assert first.id in masktune("models", "show", "first")
    assert first.id in masktune("models", "show", "best")  # an alias, before the other model's name
    refused = masktune("jobs", "start", "erm", "--dataset", "twins")
    assert all(f"{twin.id} ({day} " in refused for twin in twins)
    assert "no data set has the id or name 'clinic y'" in masktune("datasets", "show", "clinic y")
    assert "no model has the id, alias or name 'nobody'" in masktune("models", "show", "nobody")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"name": ""}, "?name"),
        ({"name": "a\0"}, "?name"),
        ({"q": ""}, "?q"),
        ({"q": "a\0"}, "?q"),
        ({"created_by": "0123456789abcdef"}, "?created_by"),
        ({"created_after": "yesterday"}, "?created_after"),
        ({"created_after": "1762162200"}, "?created_after"),
        ({"created_before": "2025-11-03T09:30:00"}, "?created_before"),
        ({"metadata.": "x"}, "?metadata."),
        ({"metadata." + "k" * 41: "x"}, "?metadata." + "k" * 41),
        ({"metadata.k": "x" * 201}, "?metadata.k"),
        ({"metadata.k": "\0"}, "?metadata.k"),
        ({f"metadata.{number}": "x" for number in range(17)}, "?metadata"),
    ],
)
def test_faulty_filters(shared_front: Front, query: dict[str, str], pointer: str) -> None:
    for kind in LISTS:
        answer = shared_front.client.get(f"/{kind}", params=query)
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer], kind
