"""Hyperparameters are declared once: read strictly, checked on construction, listed for requests."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from math import nan
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError

from masktune.contract.hyperparameters import (
    HeadConfig,
    Hyperparameters,
    MaskingConfig,
    OptimizerConfig,
    RetrainConfig,
    ScheduleConfig,
    hyperparameters_of,
)
from masktune.contract.hyperparameters.parameters import (
    Bounds,
    ConfigError,
    Doc,
    Parameters,
    declared,
    dotted,
)
from masktune.contract.job_requests import (
    ErmRequest,
    FinetuneRequest,
    MaskRequest,
    MasktuneRequest,
    RetrainHeadRequest,
)
from masktune.contract.parameter_fields import explicit

DATASET, MODEL = "ds_1", "mdl_1"


@dataclass(frozen=True)
class Tried(Parameters):
    group = "/tried"

    count: Annotated[int, Bounds(ge=1, le=20_000), Doc("How many.")] = 1
    shares: Annotated[tuple[float, ...], Bounds(gt=0, max_length=2)] = ()
    rate: Annotated[float | None, Bounds(lt=0.5)] = None


@pytest.mark.parametrize("group", [Hyperparameters, RetrainConfig])
def test_json_is_read_back_as_it_was_written(group: type[Parameters]) -> None:
    assert group.from_json(group().to_json()) == group()
    assert hyperparameters_of("retrain_head") is RetrainConfig
    assert hyperparameters_of("masktune") is Hyperparameters


def test_a_whole_number_may_stand_for_a_float_and_a_list_for_a_tuple() -> None:
    read = Tried.from_json({"shares": [1, 2.5], "rate": 0})
    assert (read.shares, read.rate) == ((1.0, 2.5), 0.0)
    assert type(read.rate) is float
    assert type(MaskingConfig.from_json({"sigmas": 1}).sigmas) is float


def test_a_number_may_have_a_word_beside_it() -> None:
    assert MaskingConfig.from_json({"sigmas": "auto"}).sigmas == "auto"
    with pytest.raises(ConfigError, match=r"/sigmas: must be float or 'auto', not '1'"):
        MaskingConfig.from_json({"sigmas": "1"})
    with pytest.raises(ConfigError, match="must be at least -10 and at most 10"):
        MaskingConfig.from_json({"sigmas": 11})
    asked = MaskRequest.model_validate({"model": MODEL, "masking": {"sigmas": "auto"}}).model_dump()
    assert explicit(MaskingConfig, asked["masking"])["sigmas"] == "auto"
    for refused in ("much", 11.0):
        with pytest.raises(ValidationError):
            MaskRequest.model_validate({"model": MODEL, "masking": {"sigmas": refused}})


def test_an_open_threshold_is_no_number_until_it_is_chosen() -> None:
    masking = MaskingConfig(sigmas="auto")
    with pytest.raises(ValueError, match="still to be chosen"):
        _ = masking.fixed_sigmas
    assert masking.with_chosen(0.5).fixed_sigmas == 0.5
    assert masking.with_chosen(None).fixed_sigmas == 2.0
    assert [masking.with_chosen(0.5, number).iterations for number in (1, 3)] == [1, 3]
    assert MaskingConfig(sigmas=1.0).with_chosen(0.5).fixed_sigmas == 1.0


@pytest.mark.parametrize(
    ("group", "json", "pointer"),
    [
        (Hyperparameters, [], "/"),
        (Hyperparameters, {"epoch": 1}, "/epoch"),
        (Hyperparameters, {"epochs": True}, "/epochs"),
        (Hyperparameters, {"epochs": 1.0}, "/epochs"),
        (Hyperparameters, {"epochs": None}, "/epochs"),
        (Hyperparameters, {"control": 1}, "/control"),
        (Hyperparameters, {"pretrained": 1}, "/pretrained"),
        (Hyperparameters, {"augmentation": "mirror"}, "/augmentation"),
        (Hyperparameters, {"optimizer": {"learning_rat": 1}}, "/optimizer/learning_rat"),
        (Hyperparameters, {"schedule": {"milestones": [1, "2"]}}, "/schedule/milestones/1"),
        (Hyperparameters, {"schedule": {"milestones": 3}}, "/schedule/milestones"),
        (Hyperparameters, {"masking": 3}, "/masking"),
    ],
)
def test_a_wrong_type_or_name_is_refused_at_its_pointer(
    group: type[Parameters], json: object, pointer: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        group.from_json(json)
    assert refused.value.pointer == pointer


@pytest.mark.parametrize(
    ("build", "pointer", "message"),
    [
        (lambda: Tried(count=0), "/tried/count", "must be at least 1 and at most 20,000"),
        (lambda: Tried(rate=0.5), "/tried/rate", "must be below 0.5"),
        (lambda: Tried(rate=nan), "/tried/rate", "must be below 0.5"),
        (lambda: Tried(shares=(1.0, 0.0)), "/tried/shares/1", "must be above 0"),
        (lambda: Tried(shares=(1.0, 1.0, 1.0)), "/tried/shares", "must be a list of 0 to 2 elements"),
        (lambda: OptimizerConfig(momentum=1.0), "/optimizer/momentum", "must be at least 0 and below 1"),
        (lambda: HeadConfig(penalties=()), "/head/penalties", "must be a list of 1 to 20 elements"),
        (lambda: Hyperparameters(seed=2**63), "/seed", "below 9,223,372,036,854,775,808"),
        (lambda: ScheduleConfig("multistep", (2, 2)), "/schedule/milestones", "ascending"),
        (
            lambda: Hyperparameters(pretrained=True, freeze_backbone=True, max_train_samples=9),
            "/max_train_samples",
            "must be null for a frozen backbone",
        ),
    ],
)
def test_construction_refuses_what_is_out_of_bounds(build: Any, pointer: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        build()
    assert refused.value.pointer == pointer


def test_declared_parameters_say_what_their_annotations_say() -> None:
    count, rate = declared(Tried)["count"], declared(Tried)["rate"]
    assert (count.type, count.nullable, count.default, count.doc) == (int, False, 1, "How many.")
    assert (rate.type, rate.nullable, rate.bounds) == (float, True, Bounds(lt=0.5))
    names = dict(dotted(Hyperparameters))
    assert names["optimizer.learning_rate"].default == OptimizerConfig.learning_rate
    assert "optimizer" not in names


def test_hyperparameters_need_no_library() -> None:
    code = "import sys, masktune.contract.hyperparameters; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the requests that are made from them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "start", "group"),
    [
        (MasktuneRequest, {"dataset": DATASET}, Hyperparameters),
        (ErmRequest, {"dataset": DATASET}, Hyperparameters),
        (MaskRequest, {"model": MODEL}, Hyperparameters),
        (FinetuneRequest, {"mask_set": "job_1"}, Hyperparameters),
        (RetrainHeadRequest, {"model": MODEL}, RetrainConfig),
    ],
)
def test_a_request_takes_every_default_and_refuses_what_the_parameter_refuses(
    request_: type[BaseModel], start: dict[str, Any], group: type[Parameters]
) -> None:
    checked = 0
    for name, parameter in dotted(group):
        outer, _, inner = name.partition(".")
        if outer not in request_.model_fields:
            continue
        setting = parameter.default if parameter.element is None else list(parameter.default)
        request_.model_validate(start | {outer: {inner: setting} if inner else setting})
        for end, outside in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
            if getattr(parameter.bounds, end) is None:
                continue
            number = getattr(parameter.bounds, end) + outside
            wrong = [number] if parameter.element else number
            with pytest.raises(ValidationError):
                request_.model_validate(start | {outer: {inner: wrong} if inner else wrong})
            checked += 1
    assert checked > 3


def test_erm_knows_no_masks_and_no_kind_knows_foreign_fields() -> None:
    for field in ("masking", "finetune", "control"):
        with pytest.raises(ValidationError, match="extra"):
            ErmRequest.model_validate({"dataset": DATASET, field: None})
    with pytest.raises(ValidationError, match="extra"):
        MasktuneRequest.model_validate({"dataset": DATASET, "optimizer": {"rate": 1}})


def test_null_sets_only_what_can_be_null() -> None:
    fields = {"epochs": None, "masking": {"share": None, "sigmas": None}, "finetune": None, "seed": 3}
    assert explicit(Hyperparameters, fields) == {"masking": {"share": None}, "seed": 3}
    assert MaskingConfig.share is None
