"""The figures of a report: each arm on each split, the differences between arms, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from masktune.contract.report import accuracy as section
from masktune.contract.report.accuracy import ArmDifference, ArmMetrics, Disagreement
from masktune.contract.report.probabilities import Reliability
from masktune.contract.vocabulary import CONTROLS, Arm, JobKind
from models.evaluation.metrics import Logits, Metrics, Names, metrics
from models.evaluation.paired import Difference
from models.evaluation.reliability import calibration_error
from models.evaluation.verdict import compare, verdict
from models.statistics import wilson
from worker.report.arms import BEFORE, arm_before, judged_arm, seed_name, without_copies
from worker.stages.context import StageContext

JUDGED_SPLIT = "test"
"""The verdict is about the split on which no choice was made."""


class FigureSections(NamedTuple):
    """The sections of a report that follow from the logits alone."""

    before: Arm | None
    metrics: dict[str, dict[Arm, ArmMetrics]]
    reliability: dict[str, dict[Arm, Reliability | None]]
    differences: dict[str, list[ArmDifference]]
    verdict: section.Verdict | None
    disagreement: dict[str, Disagreement]


class Figures:
    """Figures of the logits (split → arm → logits), computed on demand; may raise Stopped."""

    def __init__(self, context: StageContext, logits: Mapping[str, Mapping[Arm, Logits]]) -> None:
        self._context, self._logits = context, logits
        self._store, self._seed = context.store, context.run.seed
        given = context.spec.model if context.spec.kind is JobKind.RETRAIN_HEAD else None
        first = (arm_before(context.model(given)),) if given else ()
        arms = {arm for by_arm in logits.values() for arm in by_arm}
        self._before = next((arm for arm in (*first, *BEFORE) if arm in arms), None)

    def report(self) -> FigureSections:
        """The sections of the report; may raise Stopped."""
        return FigureSections(
            before=self._before,
            metrics={
                split: {arm: ArmMetrics.model_validate(m) for arm, m in by_arm.items()}
                for split, by_arm in self.metrics.items()
            },
            reliability={
                split: {arm: self._reliability(split, arm) for arm in by_arm}
                for split, by_arm in self._logits.items()
            },
            differences={split: self._differences(split) for split in self._logits},
            verdict=self._verdict(),
            disagreement={
                split: found for split in self._logits if (found := self._disagreement(split)) is not None
            },
        )

    def plain(self, arm: Arm) -> dict[str, Any]:
        """The arm's plain numbers by split, for the rows of the job and the model."""
        return {split: _plain(by_arm[arm]) for split, by_arm in self.metrics.items()}

    @cached_property
    def metrics(self) -> dict[str, dict[Arm, Metrics]]:
        """Metrics over every sample, by split and arm."""
        return self._metrics(lambda said: said)

    @cached_property
    def metrics_of_pictures(self) -> dict[str, dict[Arm, Metrics]]:
        """The same with identical images counted once, for use of the intervals: copies err together."""
        return self._metrics(lambda said: without_copies(self._context, said))

    def _metrics(self, counted: Callable[[Logits], Logits]) -> dict[str, dict[Arm, Metrics]]:
        store = self._store
        names = Names(store.classes, store.group_names)
        return {
            split: {
                arm: metrics(
                    said.labels,
                    said.predictions,
                    groups=store.groups[said.rows] if store.has_groups else None,
                    train_group_weights=self._train_group_weights,
                    names=names,
                )
                for arm, said in ((arm, counted(said)) for arm, said in by_arm.items())
            }
            for split, by_arm in self._logits.items()
        }

    @cached_property
    def _train_group_weights(self) -> dict[int, float]:
        in_train = self._store.groups[self._store.rows("train")]
        return dict(enumerate(np.bincount(in_train[in_train >= 0]).tolist()))

    def _right(self, split: str, arm: Arm) -> NDArray[np.bool_]:
        said = self._logits[split][arm]
        return np.asarray(said.predictions == said.labels)

    def _generator(self, name: str) -> np.random.Generator:
        """The bootstrap's generator, seeded by job and `name`, so that all attempts get the same figures."""
        return np.random.default_rng([self._seed & 0xFFFFFFFF, *name.encode()])

    @cached_property
    def _compared(self) -> dict[str, dict[Arm, tuple[Difference, ...]]]:
        """By split and rival: the judged arm minus the rival, in every statistic that the split allows."""
        return {
            split: {
                rival: self._compare(split, judged_arm(by_arm), rival)
                for rival in by_arm
                if judged_arm(by_arm) in by_arm and rival is not judged_arm(by_arm)
            }
            for split, by_arm in self._logits.items()
        }

    def _compare(self, split: str, judged: Arm, rival: Arm) -> tuple[Difference, ...]:
        """Compare with identical images counted once: a copy errs with its first and adds no evidence."""
        self._context.run.check()
        said = self._logits[split][judged]
        firsts = self._store.firsts(said.rows)
        return compare(
            self._right(split, judged)[firsts],
            self._right(split, rival)[firsts],
            classes=said.labels[firsts],
            groups=self._store.groups[said.rows][firsts],
            train_group_weights=self._train_group_weights,
            generator=lambda statistic: self._generator(f"{split}/{seed_name(rival)}/{statistic}"),
        )

    def _differences(self, split: str) -> list[ArmDifference]:
        judged = judged_arm(self._logits[split])
        return [
            ArmDifference(a=judged, b=rival, **self._named(difference))
            for rival, differences in self._compared[split].items()
            for difference in differences
        ]

    def _verdict(self) -> section.Verdict | None:
        """The verdict, from two of the listed differences: against the control, else the model before."""
        compared = self._compared.get(JUDGED_SPLIT, {})
        rival = next((arm for arm in (*CONTROLS, self._before) if arm in compared), None)
        if rival is None:
            return None
        found = verdict(compared[rival])
        return section.Verdict(
            verdict=found.verdict,
            split=JUDGED_SPLIT,
            a=judged_arm(self._logits[JUDGED_SPLIT]),
            b=rival,
            deciding_difference=section.Difference(**self._named(found.deciding)),
            accuracy_difference=section.Difference(**self._named(found.average)),
        )

    def _named(self, difference: Difference) -> dict[str, Any]:
        """The difference with the worst classes or groups named instead of numbered."""
        group = difference.statistic == "worst_group_accuracy"
        names = self._store.group_names if group else self._store.classes
        lowest = {
            end: None if key is None else names[key]
            for end, key in (("worst_a", difference.worst_a), ("worst_b", difference.worst_b))
        }
        return difference._asdict() | lowest

    def _reliability(self, split: str, arm: Arm) -> Reliability | None:
        self._context.run.check()
        said = self._logits[split][arm]
        generator = self._generator(f"{split}/{seed_name(arm)}/reliability")
        found = calibration_error(said.logits, said.labels, generator=generator)
        return None if found is None else Reliability.model_validate(found)

    def _disagreement(self, split: str) -> Disagreement | None:
        """How often ERM and the judged arm disagree: a signal of distribution shift that needs no labels."""
        by_arm = self._logits[split]
        judged = judged_arm(by_arm)
        if not {Arm.ERM, judged} <= by_arm.keys():
            return None
        differ = by_arm[Arm.ERM].predictions != by_arm[judged].predictions
        n, disagree = len(differ), int(differ.sum())
        low, high = wilson(disagree, n)
        return Disagreement(n=n, disagree=disagree, share=disagree / n, low=low, high=high)


def _plain(found: Metrics) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy,
        "balanced_accuracy": found.balanced_accuracy,
        "worst_class_accuracy": found.worst_class_accuracy,
        "worst_group_accuracy": found.worst_group_accuracy,
        "train_weighted_accuracy": found.train_weighted_accuracy,
        "groups": {group.name: group.accuracy for group in found.groups} or None,
    }
