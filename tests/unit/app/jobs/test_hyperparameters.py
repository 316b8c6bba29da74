"""Defaults ← preset ← single fields."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.http.validation import parse
from app.inference.backbones import check_backbone
from app.jobs import presets
from app.jobs.hyperparameters import defaults_for, merge, requested_start, resolve, resolve_mitigation
from core.errors import InvalidInput
from core.tables import DatasetRow
from masktune.contract.hyperparameters import Hyperparameters, MaskingConfig, ScheduleConfig
from masktune.contract.job_requests import MasktuneRequest, MitigateRequest

DATASET = "ds_0123456789abcdefghjkmnpqrs"


def asked(**fields: Any) -> MasktuneRequest:
    return parse(MasktuneRequest, {"dataset": DATASET, **fields})


def resolved(**fields: Any) -> Hyperparameters:
    return resolve(Hyperparameters().to_json(), asked(**fields))


def fault(**fields: Any) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as refused:
        resolved(**fields)
    return refused.value.errors[0].pointer, refused.value.errors[0].code


def test_nothing_asked_for_is_the_defaults() -> None:
    assert resolved() == Hyperparameters()


def test_a_preset_wins_over_defaults_and_fields_over_the_preset() -> None:
    params = resolved(preset="celeba", epochs=3, optimizer={"learning_rate": 0.5})
    assert (params.backbone, params.batch_size) == ("torchvision/resnet50", 512)
    assert (params.epochs, params.optimizer.learning_rate) == (3, 0.5)
    assert params.optimizer.weight_decay == 1e-4


def test_a_mitigation_masks_where_the_whole_network_is_trained_by_its_deletion_curve() -> None:
    def mitigation(**fields: Any) -> tuple[bool, float | str]:
        request = parse(MitigateRequest, {"dataset": DATASET, **fields})
        params = resolve_mitigation(Hyperparameters().to_json(), request)
        return params.masktune, params.masking.sigmas

    frozen = {"pretrained": True, "freeze_backbone": True}
    assert mitigation() == (True, "auto")
    assert mitigation(**frozen) == (False, "auto")
    assert mitigation(**frozen, masktune=True, masking={"sigmas": 1}) == (True, 1.0)


def test_as_released_sets_what_the_preset_lists_and_fields_win_over_it() -> None:
    plain, released = (resolved(preset="waterbirds", as_released=wanted) for wanted in (False, True))
    assert (plain.pretrained, plain.masking.crop, plain.as_released) == (True, "none", False)
    assert (released.pretrained, released.masking.crop, released.as_released) == (False, "centre", True)
    assert resolved(preset="celeba", as_released=True).pretrained is True
    assert resolved(preset="celeba", as_released=True).masking.crop == "square"
    assert resolved(preset="waterbirds", as_released=True, pretrained=True).pretrained is True
    assert resolved(as_released=True) == replace(Hyperparameters(), as_released=True)


@pytest.mark.parametrize(
    "option",
    [
        {"method": "fullgrad"},
        {"method": "random"},
        {"target": "label"},
        {"sigmas": -0.5},
        {"sigmas": "auto"},
        {"share": 0.1},
        {"iterations": 3},
        {"accumulate": False},
        {"fill": "blur"},
        {"crop": "square"},
    ],
    ids=str,
)
def test_every_option_of_the_masks_reaches_the_job_and_leaves_the_others(option: dict[str, Any]) -> None:
    masking = resolved(preset="cifar10", masking=option).masking
    assert masking == replace(MaskingConfig(), **option)
    assert masking != MaskingConfig()


def test_null_is_as_good_as_left_out_but_where_it_means_something() -> None:
    base = merge(Hyperparameters().to_json(), {"masking": {"share": 0.1}})
    assert resolve(base, asked(epochs=None, masking={"share": None})).masking.share is None
    assert resolve(base, asked(epochs=None, masking={"sigmas": 1.0})).masking.share == 0.1
    assert resolved(optimizer={"learning_rate": None}).optimizer.learning_rate == 0.01


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"masking": {"sigmas": 11.0}}, "/masking/sigmas", "less-than-equal"),
        ({"schedule": {"milestones": [3, 2]}}, "/schedule/milestones", "invalid-value"),
        ({"optimizer": {"nesterov": True, "momentum": 0.0}}, "/optimizer/nesterov", "invalid-value"),
        ({"preset": "nothing"}, "/preset", "unknown-preset"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_place(fields: dict[str, Any], pointer: str, code: str) -> None:
    assert fault(**fields) == (pointer, code)


def test_milestones_mean_multistep_and_another_schedule_has_none() -> None:
    schedule = resolved(schedule={"milestones": [5, 10], "gamma": 0.1}).schedule
    assert schedule == ScheduleConfig("multistep", (5, 10), 0.1)
    assert resolved(preset="biased_mnist", schedule={"milestones": [7]}).schedule.milestones == (7,)
    assert resolved(preset="biased_mnist", schedule={"name": "multistep"}).schedule.milestones == (25, 50, 75)
    assert resolved(preset="biased_mnist", schedule={"gamma": 0.1}).schedule.gamma == 0.1
    for name in ("cosine", "constant"):
        found = resolved(preset="biased_mnist", schedule={"name": name}).schedule
        assert (found.name, found.milestones) == (name, ())
        assert fault(schedule={"name": name, "milestones": [5]})[0] == "/schedule/milestones"
    assert fault(schedule={"name": "multistep"})[0] == "/schedule/milestones"
    assert fault(preset="biased_mnist", schedule={"milestones": []})[0] == "/schedule/milestones"


def test_a_model_whose_training_named_milestones_in_vain_can_still_be_masked() -> None:
    for schedule in ({"name": "constant", "milestones": [5]}, {"name": "multistep", "milestones": []}):
        base = merge(Hyperparameters().to_json(), {"schedule": schedule})
        assert resolve(base, asked()).schedule == ScheduleConfig()


def test_momentum_is_refused_where_the_optimizer_has_none() -> None:
    for optimizer in ({"name": "adam", "momentum": 0.5}, {"name": "adamw", "momentum": 0.9}):
        assert fault(optimizer=optimizer) == ("/optimizer/momentum", "not-used")
    assert fault(preset="cats_vs_dogs", optimizer={"momentum": 0.5})[0] == "/optimizer/momentum"
    assert resolved(preset="cats_vs_dogs").optimizer.name == "adam"
    assert all(
        "momentum" not in each.params.get("optimizer", {}) or each.params["optimizer"]["name"] == "sgd"
        for each in presets.load().values()
    )


def test_own_backbones_and_the_usual_methods_are_known_without_an_import() -> None:
    assert resolved(backbone="resnet32", masking={"method": "random"}).backbone == "resnet32"
    check_backbone("small_cnn")


def test_small_images_get_the_small_network() -> None:
    summary = {"sizes": {"longer_side_max": 28}, "splits": {"train": {"count": 1000}}}
    assert defaults_for(DatasetRow(summary=summary, classes=["a", "b"]))["backbone"] == "small_cnn"
    summary = {"sizes": {"longer_side_max": 500}, "splits": {"train": {"count": 1000}}}
    photographs = defaults_for(DatasetRow(summary=summary, classes=["a", "b"]))
    assert (photographs["image_size"], photographs["freeze_backbone"]) == (224, True)


def test_the_start_is_what_the_preset_and_above_it_the_fields_say() -> None:
    start = requested_start(asked(preset="photographs-finetuned", backbone="resnet18"))
    assert start == {"backbone": "resnet18", "pretrained": True, "freeze_backbone": False}
    assert requested_start(asked()) == {}


def test_every_preset_is_whole() -> None:
    found = presets.load()
    assert "biased_mnist" in found
    for preset in found.values():
        assert preset.title
        assert preset.description
        Hyperparameters.from_json(merge(preset.params, preset.released))


JSON = st.recursive(
    st.integers() | st.none(),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)


@given(below=OBJECTS, above=OBJECTS)
@settings(max_examples=25, deadline=None)
def test_merging_keeps_what_is_not_named_and_takes_what_is(
    below: dict[str, Any], above: dict[str, Any]
) -> None:
    merged = merge(below, above)
    assert merge(merged, above) == merged
    assert set(merged) == set(below) | set(above)
    assert merge(below, {}) == below
