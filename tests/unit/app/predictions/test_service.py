"""A plan whose model is deleted before it could answer: by another plan, where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from app.http.single_flight import SingleFlight
from app.inference import Engine, Inference, Pair, StoredNetwork
from app.predictions.plans import PredictionPlan
from app.predictions.request_images import RequestImages
from app.predictions.service import PredictionService
from app.selective.policy import PolicyRequest, apply_policy
from core.errors import NotFound
from core.tables import ModelRow
from masktune.contract.serving.predictions import UploadedPredictQuery

OLD, NEW = (Pair(StoredNetwork(name, f"models/{name}"), None) for name in ("mdl_old", "mdl_new"))


def plan(pair: Pair) -> PredictionPlan:
    return PredictionPlan(
        cast(ModelRow, None), pair, apply_policy(PolicyRequest("none"), None, "max_softmax"), None
    )


class Loaded(Exception):
    """A model that is there was asked for."""


class Rows:
    """Plans in the order in which the database gives them, and models that are gone."""

    def __init__(self, *pairs: Pair | None) -> None:
        self.pairs: Iterator[Pair | None] = iter(pairs)
        self.asked: list[str] = []

    async def get(self, key: object, read: Callable[[], PredictionPlan], limiter: object) -> PredictionPlan:
        pair = next(self.pairs)
        if pair is None:
            raise NotFound("there is no model any more")
        return plan(pair)

    async def engine(self, pair: Pair) -> Engine:
        self.asked.append(pair.model.id)
        if pair.model is OLD.model:
            raise NotFound("it was deleted")
        raise Loaded

    def run(self) -> None:
        nothing: Any = None
        service = PredictionService(
            settings=nothing,
            database=nothing,
            artifacts=nothing,
            stores=nothing,
            inference=cast(Inference, self),
            counters=nothing,
            spool=nothing,
            threads=nothing,
            plans=cast("SingleFlight[PredictionPlan]", self),
            certificates=nothing,
        )
        query = UploadedPredictQuery(model="newest")
        asyncio.run(service.answer_uploaded(cast(RequestImages, nothing), query))


def test_an_alias_that_moved_before_its_model_was_deleted_is_answered() -> None:
    rows = Rows(OLD, NEW)
    with pytest.raises(Loaded):
        rows.run()
    assert rows.asked == ["mdl_old", "mdl_new"]


@pytest.mark.parametrize("then", [OLD, None], ids=["as before", "gone"])
def test_a_model_that_is_gone_is_not_found(then: Pair | None) -> None:
    rows = Rows(OLD, then)
    with pytest.raises(NotFound):
        rows.run()
    assert rows.asked == ["mdl_old"]


def test_a_plan_is_made_at_most_twice() -> None:
    rows = Rows(OLD, Pair(OLD.model, OLD.model), NEW)
    with pytest.raises(NotFound):
        rows.run()
    assert rows.asked == ["mdl_old", "mdl_old"]


def test_one_plan_is_enough_where_nothing_is_deleted() -> None:
    rows = Rows(NEW)
    with pytest.raises(Loaded):
        rows.run()
    assert rows.asked == ["mdl_new"]
