"""The figures of a report: each arm on each split, the arms against each other, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.vocabulary import Arm
from models.evaluate import Logits, Metrics, Names, calibration_error, metrics
from models.statistics import Difference, Statistic, Verdict, paired_difference, verdict, wilson
from worker.stages.context import StageContext

JUDGED_SPLIT = "test"
"""The verdict is about the split that no choice was made on."""

_RIVALS = (Arm.CONTROL, Arm.ERM)
"""MaskTune is judged against the first of these that there is."""


class Figures:
    """What (split → arm → logits) amount to."""

    def __init__(self, context: StageContext, logits: Mapping[str, Mapping[Arm, Logits]]) -> None:
        self._store, self._seed, self._logits = context.store, context.run.seed, logits

    def report(self) -> dict[str, Any]:
        """The report's sections `metrics`, `reliability`, `differences`, `verdict` and `disagreement`."""
        return {
            "metrics": {
                split: {arm.value: m.to_json() for arm, m in by_arm.items()}
                for split, by_arm in self._metrics.items()
            },
            "reliability": {
                split: {arm.value: _reliability(said) for arm, said in by_arm.items()}
                for split, by_arm in self._logits.items()
            },
            "differences": {split: self._differences(split) for split in self._logits},
            "verdict": self._verdict(),
            "disagreement": {
                split: found for split in self._logits if (found := self._disagreement(split)) is not None
            },
        }

    def plain(self, arm: Arm) -> dict[str, Any]:
        """Plain numbers by split, for the job and the model."""
        return {split: _plain(by_arm[arm]) for split, by_arm in self._metrics.items()}

    @cached_property
    def _metrics(self) -> dict[str, dict[Arm, Metrics]]:
        store = self._store
        in_train = store.groups[store.rows("train")]
        weights = dict(enumerate(np.bincount(in_train[in_train >= 0]).tolist()))
        names = Names(store.classes, store.group_names)
        return {
            split: {
                arm: metrics(
                    said.labels,
                    said.predictions,
                    groups=store.groups[said.rows] if store.has_groups else None,
                    train_group_weights=weights,
                    names=names,
                )
                for arm, said in by_arm.items()
            }
            for split, by_arm in self._logits.items()
        }

    def _right(self, split: str, arm: Arm) -> NDArray[np.bool_]:
        said = self._logits[split][arm]
        return np.asarray(said.predictions == said.labels)

    def _generator(self, name: str) -> np.random.Generator:
        """The bootstrap's, by the job's seed and what is compared: the same figures at every attempt."""
        return np.random.default_rng([self._seed & 0xFFFFFFFF, *name.encode()])

    def _differences(self, split: str) -> list[dict[str, Any]]:
        """MaskTune − each other arm, in every statistic that the split allows."""
        by_arm = self._logits[split]
        if Arm.MASKTUNE not in by_arm:
            return []
        said = by_arm[Arm.MASKTUNE]
        groups = self._store.groups[said.rows]
        known = groups >= 0
        cases: list[tuple[Statistic, NDArray[np.int64] | None, NDArray[np.bool_]]] = [
            ("accuracy", None, np.ones(len(groups), bool)),
            ("balanced_accuracy", said.labels, np.ones(len(groups), bool)),
        ]
        if known.any():
            cases.append(("worst_group_accuracy", groups, known))
        found = []
        for rival in (arm for arm in by_arm if arm is not Arm.MASKTUNE):
            for statistic, strata, use in cases:
                difference = paired_difference(
                    self._right(split, Arm.MASKTUNE)[use],
                    self._right(split, rival)[use],
                    generator=self._generator(f"{split}/{rival}/{statistic}"),
                    strata=None if strata is None else strata[use],
                    statistic=statistic,
                )
                found.append({"a": Arm.MASKTUNE.value, "b": rival.value, **difference._asdict()})
        return found

    def _verdict(self) -> dict[str, Any] | None:
        by_arm = self._logits.get(JUDGED_SPLIT, {})
        rival = next((arm for arm in _RIVALS if arm in by_arm), None)
        if Arm.MASKTUNE not in by_arm or rival is None:
            return None
        said = by_arm[Arm.MASKTUNE]
        found: Verdict = verdict(
            self._right(JUDGED_SPLIT, Arm.MASKTUNE),
            self._right(JUDGED_SPLIT, rival),
            classes=said.labels,
            groups=self._store.groups[said.rows] if self._store.has_groups else None,
            generator=self._generator("verdict"),
        )
        return {
            "verdict": found.verdict,
            "split": JUDGED_SPLIT,
            "a": Arm.MASKTUNE.value,
            "b": rival.value,
            "deciding": _plain_difference(found.deciding),
            "average": _plain_difference(found.average),
        }

    def _disagreement(self, split: str) -> dict[str, Any] | None:
        """How often ERM and MaskTune answer differently: an alarm for shift that needs no labels."""
        by_arm = self._logits[split]
        if not {Arm.ERM, Arm.MASKTUNE} <= by_arm.keys():
            return None
        differ = by_arm[Arm.ERM].predictions != by_arm[Arm.MASKTUNE].predictions
        n, disagree = len(differ), int(differ.sum())
        low, high = wilson(disagree, n)
        return {"n": n, "disagree": disagree, "share": disagree / n, "low": low, "high": high}


def _plain(found: Metrics) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy,
        "balanced_accuracy": found.balanced_accuracy,
        "worst_class_accuracy": found.worst_class_accuracy,
        "worst_group_accuracy": found.worst_group_accuracy,
        "train_weighted_accuracy": found.train_weighted_accuracy,
        "groups": {group.name: group.accuracy for group in found.groups} or None,
    }


def _plain_difference(difference: Difference) -> dict[str, Any]:
    return difference._asdict()


def _reliability(said: Logits) -> dict[str, Any]:
    found = calibration_error(said.logits, said.labels)
    return found._asdict() | {"bins": [b._asdict() for b in found.bins], "n": len(said.labels)}
