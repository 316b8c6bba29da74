"""A plan whose model is deleted before it could answer: by another plan, where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import cast

import pytest
from starlette.responses import Response

from app.inference import Pair, Part
from app.predictions.plans import Plan
from app.predictions.service import answered
from app.selective.policy import PolicyRequest, apply_policy
from core.errors import NotFound
from core.tables import ModelRow

OLD, NEW = (Pair(Part(name, f"models/{name}"), None) for name in ("mdl_old", "mdl_new"))


def plan(pair: Pair) -> Plan:
    return Plan(cast(ModelRow, None), pair, apply_policy(PolicyRequest("none"), None, "max_softmax"), None)


class Rows:
    """Plans in the order in which the database gives them; models that are gone."""

    def __init__(self, *pairs: Pair | None) -> None:
        self.pairs: Iterator[Pair | None] = iter(pairs)
        self.asked: list[str] = []

    async def read(self) -> Plan:
        pair = next(self.pairs)
        if pair is None:
            raise NotFound("there is no model any more")
        return plan(pair)

    async def answer(self, plan: Plan) -> Response:
        self.asked.append(plan.pair.model.id)
        if plan.pair is OLD:
            raise NotFound("it was deleted")
        return Response(plan.pair.model.id)

    def run(self) -> bytes:
        return bytes(asyncio.run(answered(self.read, self.answer)).body)


def test_an_alias_that_moved_before_its_model_was_deleted_is_answered() -> None:
    rows = Rows(OLD, NEW)
    assert rows.run() == b"mdl_new"
    assert rows.asked == ["mdl_old", "mdl_new"]


@pytest.mark.parametrize("then", [OLD, None], ids=["as before", "gone"])
def test_a_model_that_is_gone_is_not_found(then: Pair | None) -> None:
    rows = Rows(OLD, then)
    with pytest.raises(NotFound):
        rows.run()
    assert rows.asked == ["mdl_old"]


def test_one_plan_is_enough_where_nothing_is_deleted() -> None:
    assert Rows(NEW).run() == b"mdl_new"
