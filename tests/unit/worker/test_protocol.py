"""Results and specs are the same after a way through JSON."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from masktune.contract.hyperparameters import Hyperparameters, MitigateConfig, RetrainConfig, ScheduleConfig
from masktune.contract.image_answers import ImageAnswer, ImageAnswers
from masktune.contract.job_params import AnyParams, EvaluateParams, ImportParams, PredictParams
from masktune.contract.vocabulary import JobKind
from worker.protocol import Spec
from worker.results import AnyResult, result_from_json, result_to_json

RESULTS: tuple[Any, ...] = get_args(get_args(AnyResult)[0])
TRAINING = Hyperparameters(epochs=2, schedule=ScheduleConfig(name="multistep", milestones=(1,)))
PARAMS: dict[JobKind, AnyParams] = {
    JobKind.IMPORT: ImportParams(format="csv", options={"classes": ["a", "b"]}, seed=3),
    JobKind.MITIGATE: MitigateConfig(seeds=3, masktune=False),
    JobKind.ERM: TRAINING,
    JobKind.MASK: TRAINING,
    JobKind.FINETUNE: TRAINING,
    JobKind.MASKTUNE: TRAINING,
    JobKind.RETRAIN_HEAD: RetrainConfig(groups="labels"),
    JobKind.EVALUATE: EvaluateParams(job="job_1", breaks_pattern=True),
    JobKind.PREDICT: PredictParams(max_risk=0.1, score="product"),
}
ANSWERS = ImageAnswers(
    job="job_1",
    created_by=None,
    updated_at=1.5,
    gate="open",
    lacking=1,
    answers=[ImageAnswer(sample=3, lacks_pattern=True)],
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@cache
def of_type(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of this type that JSON can hold."""
    arguments = get_args(hint)
    if hint in (JsonValue, Any):
        return json_values
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if hint is ImageAnswers:
        return st.just(ANSWERS)
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*map(of_type, arguments))
    if get_origin(hint) is Literal:
        return st.sampled_from(arguments)
    if get_origin(hint) is tuple:
        return st.lists(of_type(arguments[0]), max_size=2).map(tuple)
    if get_origin(hint) is list:
        return st.lists(of_type(arguments[0]), max_size=2)
    if get_origin(hint) is dict:
        return st.dictionaries(*map(of_type, arguments), max_size=2)
    if is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint)
        return st.builds(hint, **{field.name: of_type(hints[field.name]) for field in fields(hint)})
    return st.from_type(hint)


@pytest.mark.parametrize("kind", RESULTS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_result_is_the_same_after_json(kind: Any, data: st.DataObject) -> None:
    result: AnyResult = data.draw(of_type(kind))
    assert result_from_json(json.loads(json.dumps(result_to_json(result)))) == result


def specs() -> st.SearchStrategy[Spec]:
    """Those of every kind of job."""
    hints = get_type_hints(Spec)
    drawn = {field.name: of_type(hints[field.name]) for field in fields(Spec)}
    results = st.lists(st.one_of([of_type(kind) for kind in RESULTS]), max_size=3)
    drawn["done"] = results.map(lambda done: {result.stage: result for result in done})
    return st.sampled_from(JobKind).flatmap(
        lambda kind: st.builds(Spec, **drawn | {"kind": st.just(kind), "params": st.just(PARAMS[kind])})
    )


@settings(max_examples=20, deadline=None)
@given(spec=specs())
def test_a_spec_is_the_same_after_its_line(spec: Spec) -> None:
    line = spec.to_line()
    assert b"\n" not in line
    assert Spec.from_line(line) == spec


@pytest.mark.parametrize(
    ("attempt", "resumed", "begins"), [(1, 0, True), (2, 0, False), (1, 1, False)], ids=str
)
def test_only_the_first_attempt_of_a_job_that_was_never_resumed_begins_it(
    attempt: int, resumed: int, begins: bool
) -> None:
    assert _spec(attempt, resumed).begins is begins


def _spec(attempt: int, resumed: int) -> Spec:
    return Spec(
        job_id="job_1", kind=JobKind.ERM, attempt=attempt, resumed=resumed, stages=(), params=TRAINING
    )
