"""Reports that together print every part which a report can have."""

from __future__ import annotations

from collections.abc import Callable

from masktune.contract.report import Report
from tests.golden_texts.sections import (
    COLUMN,
    CONTROL,
    ERM,
    HEAD_CONTROL,
    IMPORTED,
    MASKTUNE,
    RELIES,
    RETRAINED,
    SIGNS,
    Json,
    N,
    difference,
    empty_masks,
    inferred_section,
    judged_sections,
    of_patients,
    part,
    plain_report,
    recommendation,
    said_of_images,
    sigmas,
    step,
    undivided,
    with_columns,
)
from tests.support.reports import GALLERY_ITEM, early_stage_groups, evidence, report


def masktune_helped() -> Json:
    value = evidence(report(n=N))
    reliability = value["reliability"]["test"]
    reliability[ERM] |= {"ece": 0.05, "ece_by_chance": 0.02, "overconfidence": 0.0, "non_finite": 3}
    reliability[MASKTUNE] |= {"ece": 0.01, "ece_by_chance": 0.02, "overconfidence": 0.03}
    reliability[CONTROL] = None
    value["gallery"]["items"] = [GALLERY_ITEM]
    return value | {
        **recommendation(
            MASKTUNE,
            "masktune_helped",
            step("review_images", samples=[4, 2]),
            step("train_more_seeds", seeds=3),
        ),
        "training_note": "The backbone was frozen.",
        "temperature": {arm: {"value": 1.5, "split": "val", "n": 150} for arm in (ERM, CONTROL)},
        "reliability_at_temperature": {"test": {ERM: reliability[MASKTUNE], CONTROL: None}},
    }


def worse_than_erm() -> Json:
    """MaskTune beats its control but not ERM. Some patients of the test split trained the models."""
    value = plain_report(erm=0.97, masktune_control=(0.6, 0.9, 0.9, 0.7), masktune=(0.8, 0.9, 0.9, 0.85))
    other = masktune_helped()
    for section in ("certificates", "saliency", "gallery", "disagreement"):
        value[section] = other[section]
    value["risk_coverage"] = {"calibration": other["risk_coverage"]["test"]}
    value = {**of_patients(value), **sigmas("unspecific")}
    value["metrics"]["val"] = other["metrics"]["val"]
    value["disagreement"]["val"] = value["disagreement"].pop("test")
    value["dataset"] |= {"subject_word": "patient", "split_subjects": {"val": 20, "test": N // 5}}
    value["dataset"]["shared_subjects"] = {"test": {"train": 12, "val": 1}}
    value["verdict"]["beaten_by"] = ERM
    value["verdict"]["deciding_difference"]["left_out"] = 2
    for certificates in value["certificates"].values():
        del certificates["models"]  # as in a report of version 0.1.0
    value["certificates"][ERM] |= {"copies_left_out": 3, "same_subject_left_out": 90}
    value["models"][ERM]["image_size"] = 96
    first, second = value["saliency"]["mean_maps"][ERM]
    first["map"], second["map"] = [[0.1] * 3] * 3, None
    steps = (
        step("cut_splits", split="test", subjects=13),
        step("add_test_images", per_class=100, subjects=10),
        step("measure_by_column", column="clinic site"),
        step("hold_out_value", column="clinic site", value="St. Mary's $(x)"),
    )
    differences = [difference(MASKTUNE, ERM, -0.4, -0.2), difference(CONTROL, ERM, -0.04, 0.02)]
    return value | recommendation(ERM, "hurt", *steps, differences=differences)


def no_effect_over_seeds() -> Json:
    value = plain_report(erm=RELIES, masktune_control=RELIES, masktune=(0.25, 0.99, 0.99, 0.27))
    value["verdict"]["seeds"] = [{"seed": 7, "estimate": 0.25}, {"seed": 8, "estimate": -0.046}]
    steps = step("compare_networks", balanced_accuracy=0.603, chance=0.5), step("label_more", per_class=60)
    return value | {
        **recommendation(CONTROL, "no_gain", *steps, differences=[difference(CONTROL, ERM, 0.02, 0.06)]),
        **sigmas("limit", iterations=3),
        "shortcut_reliance": {"evidence": "none_seen", "rule": "The rule.", "signs": SIGNS[:1]},
        "masks": empty_masks(),
    }


def shortcut_or_harm() -> Json:
    """Two models are right less often, where no groups of the test images are known."""
    plain = {"erm": 0.98, "masktune_control": 0.98, "retrained_control": 0.98, "retrained": 0.8}
    value = plain_report(groups=False, masktune=(0.98, 0.98, 0.7, 0.7), **plain)
    agreement = {"shallow": "blocks.2.1", "deep": "blocks.4.2", "flagged_shallow": 131, "flagged_deep": 110}
    agreements = [agreement | {"jaccard": 0.84, "required": 0.5}]
    groups = early_stage_groups("stages_agree", stage="blocks.4.2", agreements=agreements).model_dump()
    groups["held_out"] = {ERM: False, HEAD_CONTROL: True, RETRAINED: True}
    groups["slices"] = [
        {"name": f"5-9 · judged {answer}", "inferred": True, "share": n / 1000, "true_groups": {"5-9 <b>": n}}
        | part(n, erm=correct, retrained=n)
        | {"examples": [{"sample": 7, "path": "<b>7</b>.png", "image": "group-7.png"}]}
        for answer, n, correct in (("right", 900, 890), ("wrong", 110, 8))
    ]
    steps = step("add_test_images", per_class=100), step("review_images", samples=[4, 2])
    value |= {
        "kind": "mitigate",
        "after": RETRAINED,
        "groups": groups,
        "image_answers": said_of_images("closed", 4),
    }
    return value | recommendation(RETRAINED, "groups_inferred", *steps) | inferred_section("wrong_labels")


def no_control() -> Json:
    value = plain_report(erm=RELIES, masktune=0.95)
    counts = {"paired": True, "n_same": 10, "correct_same": 9, "n_random": 10, "correct_random": 6}
    gaps = {ERM: {"gap": 0.3, "low": 0.2, "high": 0.4}, MASKTUNE: {"gap": 0.1, "low": -0.01, "high": 0.2}}
    for section in ("metrics", "differences"):
        value[section]["only_bg_t"] = value[section]["test"]
    value["background_gap"] = {"test": {arm: gap | counts for arm, gap in gaps.items()}}
    signs = [sign | {"present": True} for sign in SIGNS]
    value["shortcut_reliance"] = {"evidence": "some", "rule": "The rule.", "signs": signs}
    return value | recommendation(MASKTUNE, "val_groups") | sigmas("limit")


def one_model() -> Json:
    """Judged on its training images and on backgrounds too; no image has a map, and one class no image."""
    value = evidence(plain_report(erm=0.9))
    value["metrics"] = dict.fromkeys(("only_bg_t", "train", "val", "test"), value["metrics"]["test"])
    value["dataset"]["classes"].append("ten")
    for mean in value["saliency"]["mean_maps"][ERM]:
        mean["map"] = None
    first, second = value["metadata_slices"]["slices"]
    first["value"] = None
    second["accuracies"][ERM] = first["accuracies"][ERM] | {"accuracy": 0.61}
    reliance = {"evidence": "not_testable", "reason": "It is no better than a guess.", "rule": "The rule."}
    value |= {"shortcut_reliance": reliance | {"signs": []}, "column_shortcuts": [COLUMN]}
    return value | {"kind": "evaluate", "risk_coverage": {}}


def imported_model() -> Json:
    """Its last layer was balanced over labelled groups, and is worse."""
    value = plain_report(imported=0.95, retrained_control=0.95, retrained=(0.6, 0.9, 0.95, 0.95))
    groups = early_stage_groups("stages_agree").model_dump() | {"held_out": {RETRAINED: True}}
    groups |= {"source": "labels", "inferred": False, "details": {}}
    train = {"0-4 with square": 4, "5-9 with square": 500}
    worse = recommendation(
        *(IMPORTED, "hurt"),
        differences=[difference(RETRAINED, IMPORTED, -0.4, -0.2)],
        weak_group={"name": "0-4 with square", "accuracy": 0.42, "train": train},
    )
    return value | worse | {"kind": "retrain_head", "groups": groups}


def inferred_groups() -> Json:
    """They decide, for a person has confirmed them. The head that helped hurt by a column of metadata."""
    controls: Json = {"masktune_control": RELIES, "retrained_control": RELIES}
    value = plain_report(erm=RELIES, masktune=RELIES, retrained=0.92, **controls)
    for decision in (value["verdict"], *value["verdicts"].values()):
        decision["inferred"] = True
    test = {"n": N, "lacking": part(98, erm=66, masktune=70, retrained=87)}
    test["rest"] = part(N - 98, erm=428, masktune=420, retrained=410)
    test["rest_alike"] = {ERM: 0.97, MASKTUNE: 0.96, RETRAINED: 0.95}
    points = [{"share": share, "accuracy": 1 - share / 5, "low": 0.5, "high": 1.0} for share in (0.05, 0.5)]
    section = inferred_section(
        "opened",
        decide=True,
        splits={"test": test | {"mix": {RETRAINED: points}}},
        examples=[{"sample": 3, "path": "<b>3</b>.png", "image": "3.png"}],
        labels_look_wrong={"train": 35, "val": 0, "test": 6},
        worst_groups_without_wrong_labels={ERM: 0.7, RETRAINED: 0.9},
        precision={"answers": 25, "lacking": 24, "low": 0.8, "at_bound": {ERM: 0.6, RETRAINED: 0.85}},
    )
    steps = step("check_labels", samples=[3, 1], n=41), step("review_images", samples=[4, 2])
    groups = early_stage_groups("opened", image_answers=said_of_images("open", 46)).model_dump()
    value |= {
        "kind": "mitigate",
        "groups": groups,
        "image_answers": said_of_images("open", 46, by=None) | {"needed": 0},
    }
    value["masks"] = empty_masks()
    return with_columns(value) | recommendation(RETRAINED, "groups_inferred", *steps) | section


def closed_gate() -> Json:
    """A person saw no pattern that the images lack, so nothing was balanced."""
    value = undivided(plain_report(groups=False, erm=0.9, retrained_control=0.9, retrained=0.9))
    groups = early_stage_groups(
        "closed", divided=False, image_answers=said_of_images("closed", 4)
    ).model_dump()
    value |= {"kind": "retrain_head", "groups": groups, "image_answers": said_of_images("closed", 4)}
    better, looked_at = difference(HEAD_CONTROL, ERM, 0.02, 0.06), step("review_images", samples=[4, 2])
    chosen = recommendation(HEAD_CONTROL, "no_minority", looked_at, differences=[better])
    return value | chosen | inferred_section("closed")


def too_few_mistakes() -> Json:
    """No class was divided with the first seed, one was with another; the data set's own groups decide."""
    value = undivided(plain_report(erm=RELIES, retrained_control=RELIES, retrained=RELIES))
    value["dataset"]["split_subjects"] = {"train": 90}
    section = inferred_section(
        "stages_agree",
        comparison={ERM: {"inferred": 0.4, "labelled": 0.5}},
        labels_look_wrong={"train": 12},
        wrong_labels_weigh_less=False,
    )
    groups = early_stage_groups("stages_agree", divided=False).model_dump() | {"source": "cross_mistakes"}
    groups |= {"details": {}, "divided_by_seed": {7: False, 8: True}}
    value |= {
        "kind": "retrain_head",
        "groups": groups,
        "image_answers": said_of_images("open", 46) | {"needed": 3},
    }
    worse, looked_at = difference(HEAD_CONTROL, ERM, -0.34, -0.14), step("review_images", samples=[4, 2])
    return value | recommendation(ERM, "no_minority", looked_at, differences=[worse]) | section


def guessing() -> Json:
    """No model has learned anything."""
    value = plain_report(erm=0.5, masktune_control=0.5, masktune=0.5) | sigmas("too_few_images", curve=[])
    figures = {"n": 150, "balanced_accuracy": 0.52, "low": 0.45, "high": 0.59, "chance": 0.5}
    at_chance = [figures | {"arm": ERM}, figures | {"arm": MASKTUNE, "seed": 4}]
    value["verdict"] |= {"verdict": "not_testable", "reason": "not_above_chance", "at_chance": at_chance}
    return value | recommendation(None, "not_above_chance", step("label_more", per_class=60))


def judged_by_images() -> Json:
    value = plain_report(erm=RELIES, masktune_control=RELIES, masktune=(0.25, 0.99, 0.99, 0.27))
    level = {"confidence": 1 - 0.05 / 6}
    more = {"0-4": 120, "5-9": 1200}
    sections = judged_sections("undecided", MASKTUNE, undecided="few_images", more=more, look=2, **level)
    deciding = value["verdict"]["deciding_difference"]
    for one in (*value["differences"]["test"], deciding):
        one.update(level)
    low = SIGNS[0] | {"present": True, "sentence": "Its accuracy is 30.0 % in one group and 68.0 % over all."}
    value["shortcut_reliance"] = {"evidence": "large_gap", "rule": "The rule.", "signs": [low, SIGNS[1]]}
    return value | sections | recommendation(MASKTUNE, "new_images", step("add_test_images", per_class=100))


def columns_tell_the_class() -> Json:
    value = plain_report(groups=False, erm=0.6, masktune_control=0.6, masktune=0.95)
    age = COLUMN | {"column": "age", "sentence": "The metadata column age tells 0-4 from 5-9."}
    value["column_shortcuts"] = [COLUMN | {"separating": 0}, age]
    steps = (
        step("separate_columns", columns=["clinic site"], per_class=60),
        step("measure_by_column", column="clinic site"),
        step("measure_by_column", column="age", is_number=True),
        step("balance_over_column", column="clinic site", grouped=False),
        step("balance_over_column", column="clinic site", grouped=True),
        step("hold_out_value", column="clinic site", value="St. Mary's $(x)"),
    )
    return value | recommendation(MASKTUNE, "masktune_helped", *steps)


_MAKERS: tuple[Callable[[], Json], ...] = (
    masktune_helped, worse_than_erm, no_effect_over_seeds, shortcut_or_harm, no_control, one_model,
    imported_model, inferred_groups, closed_gate, too_few_mistakes, guessing, judged_by_images,
    columns_tell_the_class,
)  # fmt: skip
NAMES = tuple(maker.__name__ for maker in _MAKERS)


def golden_report(name: str) -> Report:
    """The report of this name."""
    return Report.model_validate(next(maker() for maker in _MAKERS if maker.__name__ == name))
