"""Names in place of ids: what is asked, and when nothing is."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from masktune import AmbiguousName, ProblemError
from masktune.client import datasets, jobs, predict
from masktune.client.names import by_name
from masktune.contract.ids import new_id
from tests.support.answers import ANSWER, DATASET, SAMPLE
from tests.unit.masktune.client.conftest import CREATED, Runner, Script, job, problem

DS, JOB, MDL = (new_id(prefix) for prefix in ("ds", "job", "mdl"))


def listed(*ids: str) -> httpx2.Response:
    return httpx2.Response(200, json={"data": [{"id": id, "name": "clinic x", **CREATED} for id in ids]})


def asked(script: Script) -> list[str]:
    return [f"{request.method} {request.url.path} {request.url.params}".strip() for request in script.asked]


def test_names_stand_for_ids_in_paths_queries_bodies_and_sources(runner: Runner) -> None:
    by_path = Script([listed(JOB), httpx2.Response(200, json=job())])
    runner.run(by_path, by_name(jobs.get_job)("Night, 2"))
    assert asked(by_path) == ["GET /jobs name=Night%2C+2&limit=100", f"GET /jobs/{JOB}"]

    compared = Script([listed(JOB), httpx2.Response(200, json=job(metrics={}))])
    assert [one.id for one in runner.run(compared, jobs.compare("night 2")).jobs] == ["job_1"]

    samples = Script([listed(DS), httpx2.Response(200, json={"data": [SAMPLE | {"id": 3, "path": "3.png"}]})])
    assert len(runner.all(samples, by_name(datasets.list_samples)("clinic x", split="test"))) == 1
    assert asked(samples)[1] == f"GET /datasets/{DS}/samples split=test"

    both = Script([listed(DS), listed(MDL), httpx2.Response(202, json=job())])
    runner.run(both, by_name(jobs.start)("predict", dataset="clinic x", model="My model"))
    assert json.loads(both.bodies[-1]) == {"dataset": DS, "model": MDL}

    source = Script([listed(DS), httpx2.Response(202, json=DATASET)])
    runner.run(source, by_name(datasets.from_source)("dataset:clinic x", name="again"))
    assert json.loads(source.bodies[-1])["source"] == f"dataset:{DS}"


@pytest.mark.parametrize("model", [MDL, "best"], ids=["id", "alias"])
def test_an_id_or_an_alias_costs_no_further_request(runner: Runner, model: str) -> None:
    script = Script([httpx2.Response(200, json=ANSWER)])
    runner.run(script, by_name(predict.predict_sample)(model=model, dataset=DS, sample=3))
    assert asked(script) == [f"GET /predict model={model}&dataset={DS}&sample=3"]


def _predict(runner: Runner, *answers: httpx2.Response) -> tuple[Script, Any]:
    script = Script([problem("not-found", 404), *answers])
    flow = by_name(predict.predict_sample)(model="best", dataset=DS, sample=3)
    return script, runner.run(script, flow)


def test_what_is_no_alias_may_be_a_name(runner: Runner) -> None:
    answer = httpx2.Response(200, json=ANSWER)
    script, _ = _predict(runner, problem("not-found", 404), listed(MDL), answer)
    assert asked(script)[1:3] == ["GET /aliases/best", "GET /models name=best&limit=100"]
    assert f"model={MDL}" in asked(script)[3]
    with pytest.raises(ProblemError, match="no model has the id, alias or name 'best'"):
        _predict(runner, problem("not-found", 404), listed())


@pytest.mark.parametrize("status", [200, 403], ids=["there", "hidden"])
def test_another_thing_that_is_not_there_is_said_as_it_was(runner: Runner, status: int) -> None:
    """The alias is known, or this key may not read whether it is."""
    with pytest.raises(ProblemError, match="404 not-found: do this"):
        _predict(runner, httpx2.Response(status, json={}))


def test_a_name_of_several_is_refused_with_their_ids_and_dates(runner: Runner) -> None:
    other = new_id("ds")
    with pytest.raises(AmbiguousName) as refused:
        runner.run(Script([listed(DS, other)]), by_name(datasets.get_dataset)("clinic x"))
    for id in (DS, other):
        assert f"{id} (2025-11-03 " in str(refused.value)
    with pytest.raises(ProblemError, match="no data set has the id or name 'clinic x'") as unknown:
        runner.run(Script([listed()]), by_name(datasets.get_dataset)("clinic x"))
    assert (unknown.value.status, unknown.value.code) == (404, "not-found")
