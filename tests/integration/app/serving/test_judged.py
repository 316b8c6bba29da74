"""An answer is judged by the calibration of the engine that gave it, whatever served when it was planned."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference import Calibration, Engine, Explain, Pair, Part, Scores, Upload
from app.predictions import service as predict
from app.predictions.schemas import PredictQuery
from app.registry.calibrations import needed
from core.errors import NotCertifiable
from core.queries import registry
from masktune.contract.vocabulary import Decision
from models.selective import CalibrationTable
from tests.integration.app.serving.conftest import World, picture


class Other:
    """Torch's answers under a calibration of its own."""

    name = "other"
    quick = False

    def __init__(self, engine: Engine, calibration: Calibration) -> None:
        self._engine = engine
        self.calibration: Calibration | None = calibration
        self.image_size, self.classes, self.nbytes = engine.image_size, engine.classes, engine.nbytes

    def run(self, images: NDArray[np.uint8], explain: Explain | None) -> Scores:
        return self._engine.run(images, explain)


@pytest.fixture
def world(fresh_world: World) -> World:
    fresh_world.ask()  # torch is loaded
    return fresh_world


def _pair(world: World) -> Pair:
    return Pair(Part(world.model, f"models/{world.model}"), Part(world.erm, f"models/{world.erm}"))


def _standing(world: World) -> Calibration:
    with world.services.database.read() as session:
        return needed(registry.get(session, world.model), world.services.artifacts)


def _hopeless(world: World, **more: Any) -> Calibration:
    """One by which nothing can be certified; torch's certifies a risk of 0.45."""
    standing = _standing(world)
    table = CalibrationTable.build(np.log(np.linspace(0.5, 0.99, 50)), np.zeros(50, bool))
    own = replace(standing, id="cal_own", tables=dict.fromkeys(standing.tables, table), temperature=9.0)
    return replace(own, **({"stands_for": standing.id} | more))


def _torch(world: World) -> Engine:
    engine = world.services.inference._cache.ready(_pair(world))
    assert engine is not None
    return engine


def _serve(world: World, calibration: Calibration) -> Other:
    torch = _torch(world)
    other = Other(torch, calibration)
    assert world.services.inference._cache.replace(_pair(world), torch, other)
    return other


def _plan(world: World, query: PredictQuery) -> predict.Plan:
    with world.services.database.read() as session:
        return predict.plan(session, world.services, query)


def _answer(world: World, plan: predict.Plan, query: PredictQuery) -> dict[str, Any]:
    upload = Upload(picture(0))
    answer = asyncio.run(predict.predict(world.services, plan, query, [upload], deployed=True))
    told: dict[str, Any] = json.loads(answer)
    return told


def _query(world: World, **more: Any) -> PredictQuery:
    return PredictQuery(model=world.model, max_risk=0.45, **more)


def _calibration(answer: dict[str, Any]) -> str:
    id: str = answer["selection"]["calibration"]["id"]
    return id


def test_an_engine_that_takes_over_after_the_plan_judges_its_own_answer(world: World) -> None:
    query = _query(world)
    plan = _plan(world, query)
    assert plan.chosen.threshold is not None
    _serve(world, _hopeless(world))
    answer = _answer(world, plan, query)
    assert _calibration(answer) == "cal_own"
    assert answer["selection"]["calibration"]["temperature"] == 9.0
    assert answer["predictions"][0]["decision"] == Decision.ABSTAIN


def test_an_engine_that_leaves_after_the_plan_takes_its_calibration_with_it(world: World) -> None:
    query = _query(world)
    _serve(world, _hopeless(world))
    plan = _plan(world, query)
    assert plan.chosen.threshold is None
    world.services.inference.forget(world.model)
    answer = _answer(world, plan, query)
    assert _calibration(answer) == _standing(world).id


def test_what_must_be_certified_is_refused_by_whoever_answers(world: World) -> None:
    query = _query(world, on_uncertified="error")
    plan = _plan(world, query)
    _serve(world, _hopeless(world))
    with pytest.raises(NotCertifiable):
        _answer(world, plan, query)
    with pytest.raises(NotCertifiable):  # from now on before anything is decoded
        _plan(world, query)


def test_what_is_served_is_counted_under_the_calibration_that_judged_it(world: World) -> None:
    _serve(world, _hopeless(world))
    query = _query(world)
    _answer(world, _plan(world, query), query)
    assert world.client.get(f"/models/{world.model}/drift").json()["calibration"] == "cal_own"
    assert world.client.get(f"/models/{world.model}/drift").json()["served"]["inputs"] == 1


def test_an_engine_that_was_measured_for_another_calibration_is_put_out(world: World) -> None:
    other = _serve(world, _hopeless(world, stands_for="cal_older"))
    query = _query(world)
    answer = _answer(world, _plan(world, query), query)
    assert _calibration(answer) == _standing(world).id
    assert _torch(world) is not other


def test_an_engine_without_a_calibration_of_its_own_is_judged_by_the_models(world: World) -> None:
    query = _query(world)
    assert _calibration(_answer(world, _plan(world, query), query)) == _standing(world).id
