"""Reports as the evaluation writes them, of made-up predictions through the real figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.evaluate import Names, calibration_error, metrics
from models.statistics import paired_difference, verdict

CLASSES = ("0-4", "5-9")
GROUPS = ("0-4 without", "0-4 with square", "5-9 without", "5-9 with square")
RIGHT = {
    "erm": (0.2, 0.99, 0.99, 0.25),
    "control": (0.25, 0.99, 0.98, 0.3),
    "masktune": (0.95, 0.97, 0.96, 0.94),
}


def report(
    *, right: Mapping[str, tuple[float, ...]] | None = None, n: int = 400, groups: bool = True
) -> dict[str, Any]:
    """`right`: for each arm the share of right answers in each of the four groups."""
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
            train_group_weights={0: 500, 1: 5, 2: 5, 3: 500} if groups else None,
            names=Names(CLASSES, GROUPS),
        ).to_json()
        for arm, predictions in said.items()
    }
    reliability = {}
    for arm in said:
        found = calibration_error(logits[arm].astype(np.float32), labels)
        reliability[arm] = found._asdict() | {"bins": [b._asdict() for b in found.bins], "n": n}
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
            "rule": {"moved": "the largest share of saliency that lies elsewhere"},
            "split": "test",
            "pool": n,
            "items": [],
        },
    }


def _right(said: dict[str, Any], labels: Any) -> dict[str, Any]:
    return {arm: predictions == labels for arm, predictions in said.items()}


def _differences(said: dict[str, Any], labels: Any, group: Any) -> list[dict[str, Any]]:
    right = _right(said, labels)
    if "masktune" not in right:
        return []
    cases = [("accuracy", None), ("balanced_accuracy", labels)]
    cases += [] if group is None else [("worst_group_accuracy", group)]
    return [
        {
            "a": "masktune",
            "b": arm,
            **paired_difference(
                right["masktune"],
                right[arm],
                generator=np.random.default_rng(0),
                strata=strata,
                statistic=statistic,  # type: ignore[arg-type]  # a name from the list above
            )._asdict(),
        }
        for arm in right
        if arm != "masktune"
        for statistic, strata in cases
    ]


def _verdict(said: dict[str, Any], labels: Any, group: Any) -> dict[str, Any] | None:
    right = _right(said, labels)
    if not {"masktune", "control"} <= right.keys():
        return None
    found = verdict(
        right["masktune"], right["control"], classes=labels, groups=group, generator=np.random.default_rng(0)
    )
    return {
        "verdict": found.verdict,
        "split": "test",
        "a": "masktune",
        "b": "control",
        "deciding": found.deciding._asdict(),
        "average": found.average._asdict(),
    }
