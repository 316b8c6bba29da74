"""What golden reports are made of: figures of made-up answers, and sections that nothing computes here."""

from __future__ import annotations

from typing import Any

from masktune.contract.report.recommendation import RecommendationReason
from masktune.contract.vocabulary import CONTROLS, Arm
from models.statistics import wilson
from tests.support.reports import report

Json = dict[str, Any]
ERM, CONTROL, MASKTUNE = Arm.ERM, Arm.MASKTUNE_CONTROL, Arm.MASKTUNE
HEAD_CONTROL, RETRAINED, IMPORTED = Arm.RETRAINED_CONTROL, Arm.RETRAINED, Arm.IMPORTED
N = 530
"""Images of the test split. Neither the size of a class or a group of it nor one less is a multiple of 8: of
these, shares can lie half way between two that are printed, where processors may round either way."""
RELIES = (0.2, 0.99, 0.99, 0.25)
"""The share of right answers in each of the four groups, of a model that relies on the square."""
SIGNS: list[Json] = [
    {"name": name, "kind": kind, "present": name != "groups", "n": 9, "sentence": sentence}
    for name, kind, sentence in (
        ("groups", "failure", "Its worst group is fine."),
        ("shift", "failure", "It fails on the test split."),
        ("mask", "cause", "Its own mask is small."),
        ("property", "cause", "A corner tells the class."),
    )
]
COLUMN: Json = {"column": "clinic site", "sentence": "The metadata column clinic site tells 0-4 from 5-9."}
COLUMN |= {"separating": 5, "is_grouping": False}


def plain_report(*, groups: bool = True, **right: float | tuple[float, ...]) -> Json:
    """A report on the test split alone, without pictures, masks and probabilities. `right`: by arm, the share
    of right answers, or that in each group."""
    of_arms = {Arm(arm): (share,) * 4 if isinstance(share, float) else share for arm, share in right.items()}
    value = report(right=of_arms, n=N, groups=groups)
    value |= {"metrics": {"test": value["metrics"]["test"]}, "reliability": {}, "disagreement": {}}
    return value | {"masks": None, "sigmas": None, "cost": [], "gallery": None}


def equal_models(*, groups: bool = True) -> Json:
    """A report on models that chance alone tells apart."""
    return plain_report(groups=groups, erm=0.9, masktune_control=0.9, masktune=0.9)


def undivided(value: Json) -> Json:
    """The same, where the retrained head equals its control."""
    of_test = value["metrics"]["test"]
    of_test[RETRAINED] = of_test[HEAD_CONTROL]
    return value | {"differences": {}, "verdict": None, "verdicts": {}}


def with_columns(value: Json) -> Json:
    """The same with two columns of metadata that can decide: the retrained head hurt by the first."""
    columns: list[Json] = []
    for name, verdict, of_a, of_b in (
        ("clinic site", "hurt", 0.622, 0.754),
        ("camera", "helped", 0.881, 0.703),
    ):
        ends = {"estimate": of_a - of_b, "low": of_a - of_b - 0.082, "high": of_a - of_b + 0.079}
        by_column = value["verdicts"][RETRAINED] | {"verdict": verdict, "inferred": False}
        for which, more in (("deciding_difference", 0.0), ("erm_difference", 0.004)):
            named = {"confidence": 0.975, "accuracy_a": of_a, "accuracy_b": of_b - more}
            by_column[which] = by_column[which] | ends | named | {"worst_a": f"5-9 · {name} B"}
        undetected = by_column | {"verdict": "no_detectable_effect", "a": MASKTUNE, "b": CONTROL}
        verdicts = {RETRAINED: by_column, MASKTUNE: undetected}
        columns.append(COLUMN | {"column": name, "strength": "strong", "verdicts": verdicts})
    for decision in (value["verdict"], value["verdicts"][RETRAINED]):
        decision["hurt_by_columns"] = ["clinic site"]
    return value | {"column_shortcuts": columns}


def sigmas(reason: str, **more: Any) -> Json:
    return {"sigmas": report()["sigmas"] | {"reason": reason} | more}


def empty_masks() -> Json:
    """More of them than a report leaves to its tables."""
    masks: Json = report()["masks"]
    return masks | {"images": 1000, "nothing_masked": 200, "images_per_second": None}


def step(name: str, **fields: Any) -> Json:
    return {"step": name} | fields


def recommendation(arm: Arm | None, reason: RecommendationReason, *steps: Json, **more: Any) -> Json:
    """To use the recommended model is the first step."""
    chosen = {"arm": arm, "model": None if arm is None else f"mdl_{arm}"}
    weak = {"weak_group": more.pop("weak_group", None)}
    use = [] if arm is None else [step("use_control" if arm in CONTROLS else "use_model", **chosen, **weak)]
    return {"recommendation": chosen | {"reason": reason, "next": [*use, *steps]} | more}


def difference(a: Arm, b: Arm, low: float, high: float) -> Json:
    decides: Json = report()["verdict"]["deciding_difference"]
    ends = {"estimate": (low + high) / 2, "low": low, "high": high}
    return decides | ends | {"a": a, "b": b, "split": "test"}


def part(n: int, **correct: int) -> Json:
    """So many images, and how many of them each model gets right."""
    of_arms = {}
    for arm, count in correct.items():
        low, high = wilson(count, n)
        of_arms[arm] = {"n": n, "correct": count, "accuracy": count / n, "low": low, "high": high}
    return {"n": n, "accuracies": of_arms}


def said_of_images(gate: str, lacking: int, by: str | None = "Ada") -> Json:
    return {"job": "job_1", "by": by, "at": 1.7e9, "gate": gate, "answered": 50, "lacking": lacking}


def inferred_section(reason: str, *, decide: bool = False, **more: Any) -> Json:
    section: Json = {"decide": decide, "model": "mdl_erm", "stage": "layer3", "reason": reason, "splits": {}}
    return {"inferred_groups": section | more}


def judged_sections(outcome: str, arm: Arm | None, **more: Any) -> Json:
    """Of images that were brought to judge the models of a job, which recommends this one."""
    left_out = {"images": 7, "same_image": 7, "paths": ["a/1.png", "a/2.png"]}
    section: Json = {"job": "job_1", "dataset": "ds_of_job_1", "recommended": arm, "outcome": outcome}
    section |= {"left_out": left_out, "breaks_pattern": False, "most": 10_000}
    return {"kind": "evaluate", "judged_job": section | more}


def of_patients(value: Any) -> Any:
    """The same, with five images of each patient wherever subjects are counted."""
    if isinstance(value, dict):
        counts = {"n_subjects": value["n"] // 5} if "n_subjects" in value else {}
        return {name: of_patients(inner) for name, inner in value.items()} | counts
    return [of_patients(inner) for inner in value] if isinstance(value, list) else value
