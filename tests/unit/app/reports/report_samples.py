"""Reports as the evaluation writes them, computed by the real code from made-up predictions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from models.evaluation.masking_cost import MaskedAnswers, masking_cost
from models.evaluation.metrics import Names, metrics
from models.evaluation.paired import Difference
from models.evaluation.reliability import calibration_error
from models.evaluation.verdict import compare, verdict
from models.selective import CalibrationTable, certify, risk_coverage
from models.shortcuts.check import judge
from models.shortcuts.properties import Property, PropertyTable
from models.shortcuts.reliance import of_mask, of_property, of_shift, read
from models.shortcuts.saliency_summary import mean_maps, movement
from models.shortcuts.slices import Looked, infer_slices

CLASSES = ("0-4", "5-9")
GROUPS = ("0-4 without", "0-4 with square", "5-9 without", "5-9 with square")
TRAIN_WEIGHTS = {0: 500, 1: 5, 2: 5, 3: 500}
RIGHT = {
    "erm": (0.2, 0.99, 0.99, 0.25),
    "control": (0.25, 0.99, 0.98, 0.3),
    "masktune": (0.95, 0.97, 0.96, 0.94),
}


def report(
    *, right: Mapping[str, tuple[float, ...]] | None = None, n: int = 400, groups: bool = True
) -> dict[str, Any]:
    """A report. `right`: for each arm, the share of right answers in each of the four groups."""
    shares_of: Mapping[str, tuple[float, ...]] = RIGHT if right is None else right
    rng = np.random.default_rng(1)
    group = rng.integers(0, 4, n)
    labels = group // 2
    said = {
        arm: np.where(rng.random(n) < np.array(shares)[group], labels, 1 - labels)
        for arm, shares in shares_of.items()
    }
    logits = {arm: np.eye(2, dtype=np.float32)[p] * rng.uniform(0.5, 4, (n, 1)) for arm, p in said.items()}
    figures = {
        arm: metrics(
            labels,
            predictions,
            groups=group if groups else None,
            train_group_weights=TRAIN_WEIGHTS if groups else None,
            names=Names(CLASSES, GROUPS),
        ).to_json()
        for arm, predictions in said.items()
    }
    reliability = {}
    for arm in said:
        reliable = calibration_error(logits[arm].astype(np.float32), labels)
        assert reliable is not None
        reliability[arm] = reliable.to_json()
    return {
        "version": 1,
        "job": "job_06d4k3w8s0q6v7yx3n5m9a1b2c",
        "kind": "masktune",
        "created_at": 1.76e9,
        "dataset": {
            "id": "ds_06d4k3w8s0q6v7yx3n5m9a1b2c",
            "name": "digits with a square",
            "classes": list(CLASSES),
            "groups": list(GROUPS) if groups else [],
            "splits": {"train": 1010, "val": 150, "calibration": 237, "test": n},
        },
        "before": next((arm for arm in ("erm", "imported") if arm in said), None),
        "models": {arm: {"id": f"mdl_{arm}", "backbone": "small_cnn", "image_size": 28} for arm in said},
        "metrics": {"val": figures, "test": figures},
        "reliability": {"val": reliability, "test": reliability},
        "differences": {"val": [], "test": _differences(said, labels, group if groups else None)},
        "verdict": _verdict(said, labels, group if groups else None),
        "disagreement": {"test": {"n": n, "disagree": 40, "share": 40 / n, "low": 0.07, "high": 0.13}},
        "masks": {
            "images": 1010,
            "masked_share": 0.038,
            "nothing_masked": 3,
            "non_finite": 0,
            "seconds": 0.2,
            "images_per_second": 5050.0,
        },
        "cost": [
            {"stage": "erm", "seconds": 5.2, "images_per_second": 2900.0, "device": "cpu"},
            {"stage": "mask", "seconds": 0.2, "images_per_second": 5050.0, "device": "cpu"},
            {"stage": "evaluate", "seconds": 75.0, "images_per_second": None, "device": "cpu"},
        ],
        "gallery": {
            "rule": {"most_changed": "the images whose saliency moved most between the two models"},
            "turns": "Classes take turns.",
            "split": "test",
            "pool": n,
            "items": [],
        },
    }


def evidence(value: dict[str, Any]) -> dict[str, Any]:
    """The report with the sections that need a model's outputs: signs, masks, slices, maps, risk."""
    found = _evidence(tuple(value["models"]), value["metrics"]["test"]["erm"]["n"])
    return value | copy.deepcopy(found)


@lru_cache
def _evidence(arms: tuple[str, ...], n: int) -> dict[str, Any]:
    labels, maps = _maps(n)
    said = {arm: np.where(np.arange(n) % 10 == 0, 1 - labels, labels) for arm in arms}
    said["erm"] = np.where(np.arange(n) // 2 % 5 == 0, 1 - labels, labels)  # wrong where it looks elsewhere
    slices = infer_slices(
        Looked(np.arange(n), labels, maps, np.arange(n) // 2 % 5),
        classes=CLASSES,
        predictions=said,
        rng=np.random.default_rng(0),
    )
    pictured = slices.to_json() | {"split": "test", "n": n, "of": 2 * n, "model": "erm", "left_out": []}
    for part in pictured["slices"]:
        part |= {"picture": f"slice-{part['label']}-{part['index']}.png", "shown": 5}
    cost = masking_cost(_masked(labels), generator=np.random.default_rng(0), names=Names(CLASSES))
    check = judge(_table(labels), labels, CLASSES, rng=np.random.default_rng(0), permutations=39).to_json()
    shifted = of_shift(metrics(labels, labels), metrics(labels, said["erm"]))
    signs = [shifted, of_mask(cost, split="test"), of_property(check)]
    tables = {arm: CalibrationTable.build(np.linspace(-1, 0, n), said[arm] == labels) for arm in arms}
    return {
        "shortcut": read([sign for sign in signs if sign is not None]).to_json(),
        "properties": check | {"split": "train"},
        "masking_cost": {"test": {"erm": cost.to_json()}},
        "slices": pictured,
        "gaze": {
            "split": "test",
            "n": n,
            "of": 2 * n,
            "before": "erm",
            "after": "masktune" if "masktune" in arms else None,
            "movement": movement(maps, maps[::-1], labels, classes=CLASSES).to_json(),
            "mean_maps": {"erm": [mean.to_json() for mean in mean_maps(maps, labels, classes=CLASSES)]},
            "pictures": [
                {
                    "class_name": "0-4",
                    "n": n // 2,
                    "averaged": 64,
                    "image": "mean.png",
                    "arms": {"erm": "mean-erm.png"},
                }
            ],
            "left_out": [],
        },
        "risk_coverage": {
            split: {
                arm: {"score_name": "max_softmax"} | risk_coverage(table).to_json()
                for arm, table in tables.items()
            }
            for split in ("calibration", "test")
        },
        "certified": {arm: _certified(table) for arm, table in tables.items()},
    }


def _maps(n: int) -> tuple[Any, Any]:
    """Labels 0, 1, 0, 1 …; the maps highlight one corner, and the opposite one in every fifth pair."""
    rng = np.random.default_rng(2)
    maps = 0.05 * rng.random((n, 6, 6))
    other = np.arange(n) // 2 % 5 == 0
    maps[~other, 0, 0] += 1
    maps[other, 5, 5] += 1
    return np.arange(n) % 2, maps.astype(np.float32)


def _masked(labels: Any) -> MaskedAnswers:
    """The image's own mask flips half of the answers, the other masks none."""
    n = len(labels)
    half = np.where(np.arange(n) % 4 < 2, labels, 1 - labels)
    return MaskedAnswers(np.arange(n), labels, np.full(n, 0.03), labels, half, labels, labels)


def _table(labels: Any) -> PropertyTable:
    """One property that predicts the class, and one that is noise."""
    rng = np.random.default_rng(3)
    properties = (
        Property("top-left corner", "corner", "the look of the top-left corner", ("red",)),
        Property("brightness", "image", "the brightness", ("mean",)),
    )
    values = np.stack([labels + 0.01 * rng.random(len(labels)), rng.random(len(labels))], 1)
    return PropertyTable(np.arange(len(labels)), properties, values.astype(np.float32), len(labels))


def _certified(table: CalibrationTable) -> dict[str, Any]:
    wishes = []
    for wish in (0.01, 0.2):
        found = certify(table, max_risk=wish)
        point = found.point
        both = certify(table, max_risk=wish, confidence=0.995)
        facts = {"max_risk": wish, "status": found.status, "coverage": point.coverage}
        together = {"status": both.status, "coverage": both.point.coverage}
        wishes.append(facts | {"together": together} | {"answered": point.answered, "errors": point.errors})
    return {"n": table.n, "confidence": 0.99, "best_certifiable_risk": 0.15, "wishes": wishes}


def _compared(said: dict[str, Any], rival: str, labels: Any, group: Any) -> tuple[Difference, ...]:
    return compare(
        said["masktune"] == labels,
        said[rival] == labels,
        classes=labels,
        groups=group,
        train_group_weights=TRAIN_WEIGHTS,
        generator=lambda _: np.random.default_rng(0),
    )


def _differences(said: dict[str, Any], labels: Any, group: Any) -> list[dict[str, Any]]:
    if "masktune" not in said:
        return []
    return [
        {"a": "masktune", "b": arm, **_told(difference)}
        for arm in said
        if arm != "masktune"
        for difference in _compared(said, arm, labels, group)
    ]


def _verdict(said: dict[str, Any], labels: Any, group: Any) -> dict[str, Any] | None:
    rival = next((arm for arm in ("control", "erm", "imported") if arm in said), None)
    if "masktune" not in said or rival is None:
        return None
    found = verdict(_compared(said, rival, labels, group))
    return {
        "verdict": found.verdict,
        "split": "test",
        "a": "masktune",
        "b": rival,
        "deciding": _told(found.deciding),
        "average": _told(found.average),
    }


def _told(difference: Difference) -> dict[str, Any]:
    names = GROUPS if difference.statistic == "worst_group_accuracy" else CLASSES
    lowest = {"worst_a": difference.worst_a, "worst_b": difference.worst_b}
    return difference._asdict() | {end: None if key is None else names[key] for end, key in lowest.items()}
