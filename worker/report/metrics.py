"""The figures of a report: each arm on each split, the differences between arms, and the verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from masktune.contract.report import accuracy as section
from masktune.contract.vocabulary import CONTROL_OF, CONTROLS, Arm, JobKind
from models.data.store import Store
from models.evaluation.metrics import Logits, Metrics, Names, confusion, metrics
from models.evaluation.paired import Difference, mean_over_seeds
from models.evaluation.verdict import CONFIDENCE, compare, smallest_decisive, verdict
from models.types import Bools, Labels
from worker.context import arm_before
from worker.report.answers import at_chance, background_gaps, disagreement_of, plain_figures, reliability_of
from worker.report.arms import BEFORE, TREATMENTS, clusters_of, rival_of, seeded, without_copies
from worker.report.contexts import FiguresContext
from worker.results import Json
from worker.stages.seeds import SeedPredictions

VERDICT_SPLIT = "test"
"""The verdict is about the split on which no choice was made."""
MOST_CONFUSED = 20
"""Classes; nobody reads a larger table of which is answered as which."""


class Figures:
    """Figures of the logits (split → arm → logits), computed on demand; may raise Stopped.

    Verdicts are over all seeds if there are `further` ones; everything else is about these models. `before`
    is the arm that the treatments were made from, where a job's own report has named it. `lacking`: where
    nobody labelled the groups, those of images that lack the pattern of their class. `divided`: whether the
    groups that the last layer was balanced over divide any class. `confidence`: of each difference.
    `columns`: the data set with the groups of class × a column of metadata in place of its own, by column.
    `is_by_column`: it is such a data set.
    """

    def __init__(
        self,
        context: FiguresContext,
        logits: Mapping[str, Mapping[Arm, Logits]],
        further: Sequence[SeedPredictions] = (),
        *,
        before: Arm | None = None,
        lacking: Collection[int] = (),
        divided: bool = True,
        confidence: float = CONFIDENCE,
        columns: Mapping[str, Store] = {},
        is_by_column: bool = False,
    ) -> None:
        self._context, self._logits, self._further, self._columns = context, logits, further, columns
        self._run, self._store, self._is_by_column = context.run, context.store, is_by_column
        source = context.spec.model if context.spec.kind is JobKind.RETRAIN_HEAD else None
        first = (arm_before(context.spec.models[source]),) if source else ()
        if before is not None:
            first = (before,)
        arms = {arm for by_arm in logits.values() for arm in by_arm}
        self.before = next((arm for arm in (*first, *BEFORE) if arm in arms), None)
        """The model that the treatment arms were made from."""
        self.rivals = {
            arm: rival
            for arm in TREATMENTS
            if arm in arms - {self.before} and (rival := rival_of(arm, arms, self.before)) is not None
        }
        """What each treatment is judged against: its control, else the model before."""
        started_plain = source is None or context.spec.models[source].arm not in TREATMENTS
        controls = [CONTROL_OF[arm] for arm in TREATMENTS if CONTROL_OF[arm] in arms]
        plain = [self.before, *controls] if self.before and started_plain else controls
        self.plain_arms = tuple(plain or dict.fromkeys(self.rivals.values()))
        """Models that were made against no shortcut, the one before first; without any, the rivals."""
        self._plain = self.before if self.before in self.plain_arms else None
        """What the user would have had: plain training, unless the job started from a treatment."""
        self.lacking, self._divided, self._confidence = lacking, divided, confidence
        self._decided: dict[tuple[str, Arm, Arm], section.Verdict] = {}
        in_train = self._store.groups[self._store.rows("train")]
        self._train_group_weights = dict(enumerate(np.bincount(in_train[in_train >= 0]).tolist()))

    def sections(self, after: Arm | None) -> dict[str, Any]:
        """The sections of a report that follow from the logits alone; `after` is the treatment that it is
        about."""
        return {
            "before": self.before,
            "after": after,
            "verdict": None if after is None else self.verdicts.get(after),
            "verdicts": self.verdicts,
            "metrics": {
                split: {arm: section.ArmMetrics.model_validate(m) for arm, m in by_arm.items()}
                for split, by_arm in self.metrics.items()
            },
            "confusion": self._confusion(),
            "differences": {split: self.differences(split) for split in self._logits},
            "disagreement": {
                split: disagreement
                for split in self._logits
                if (disagreement := disagreement_of(self._store, self._logits[split], after)) is not None
            },
            "background_gap": background_gaps(self._store, self._run, self._logits),
            "reliability": {
                split: {
                    arm: reliability_of(self._store, self._run, of_arm, generator_of=(split, arm))
                    for arm, of_arm in by_arm.items()
                }
                for split, by_arm in self._logits.items()
            },
        }

    @property
    def train_counts(self) -> dict[str, int]:
        """Training images of each group."""
        return {self._store.group_names[group]: n for group, n in self._train_group_weights.items()}

    def learned(self, arm: Arm) -> bool:
        """Whether the arm's model, that of the first seed, is above chance on the validation split; true if
        that was not evaluated."""
        validation = self._validation(arm)
        return not validation or validation[self._run.seed].above_chance

    def plain(self, arm: Arm) -> Json:
        """The arm's plain numbers by split, for the rows of the job and the model."""
        return {split: plain_figures(by_arm[arm]) for split, by_arm in self.metrics.items()}

    @cached_property
    def metrics(self) -> dict[str, dict[Arm, Metrics]]:
        """Metrics over every sample, by split and arm."""
        return {
            split: {arm: self._metrics(logits) for arm, logits in by_arm.items()}
            for split, by_arm in self._logits.items()
        }

    def _confusion(self) -> section.Confusion | None:
        of_test = self._logits.get(VERDICT_SPLIT, {})
        if not of_test or len(self._store.classes) > MOST_CONFUSED:
            return None
        counts = {arm: confusion(logits).tolist() for arm, logits in of_test.items()}
        return section.Confusion(classes=list(self._store.classes), counts=counts)

    def metrics_without_copies(self, splits: tuple[str, ...]) -> dict[str, dict[Arm, Metrics]]:
        """The same on those of the splits that were evaluated, with identical images counted once, for use of
        the intervals: copies err together."""
        return {
            split: {arm: self._metrics(without_copies(self._store, logits)) for arm, logits in by_arm.items()}
            for split, by_arm in self._logits.items()
            if split in splits
        }

    def smallest_group(self, arm: Arm, *, of_classes: bool = False) -> int | None:
        """Distinct images, or subjects, in the smallest group of the test split that decides;
        None if none does. `of_classes`: the classes are the groups."""
        rows = without_copies(self._store, self._logits[VERDICT_SPLIT][arm]).rows
        return smallest_decisive(
            (self._store.labels if of_classes else self._store.groups)[rows],
            clusters_of(self._store, rows),
            () if of_classes else self.lacking,
        )

    def _validation(self, arm: Arm) -> dict[int, Metrics]:
        """The same on the validation split, by seed; empty if it was not evaluated."""
        by_arm = self._logits.get("val", {})
        if arm not in by_arm:
            return {}
        distinct, first = without_copies(self._store, by_arm[arm]), self._store.firsts(by_arm[arm].rows)
        return {self._run.seed: self._metrics(distinct)} | {
            of_seed.seed: self._metrics(distinct, of_seed.predictions["val"][arm][first])
            for of_seed in self._further
        }

    def _metrics(self, logits: Logits, predictions: Labels | None = None) -> Metrics:
        """Those of these predictions, by default the logits' own."""
        store = self._store
        return metrics(
            logits.labels,
            logits.predictions if predictions is None else predictions,
            groups=store.groups[logits.rows] if store.has_groups else None,
            train_group_weights=self._train_group_weights,
            clusters=clusters_of(store, logits.rows),
            names=Names(store.classes, store.group_names),
        )

    @cached_property
    def _compared(self) -> dict[str, dict[tuple[Arm, Arm], tuple[Difference, ...]]]:
        """By split: each treatment minus each other arm, in every statistic that the split allows."""
        return {
            split: {
                (treatment, rival): self._compare(split, treatment, rival)
                for treatment in self.rivals
                for rival in by_arm
                if rival is not treatment
            }
            for split, by_arm in self._logits.items()
        }

    def _compare(
        self, split: str, treatment: Arm, rival: Arm, of_seed: SeedPredictions | None = None
    ) -> tuple[Difference, ...]:
        """Compare with identical images counted once: a copy errs with its first and adds no evidence."""
        self._run.check()
        # The first treatment has the intervals that it has in a job without a second one.
        others = () if treatment is next(iter(self.rivals)) else (treatment,)
        seed = () if of_seed is None else (str(of_seed.seed),)
        distinct = without_copies(self._store, self._logits[split][treatment])
        return compare(
            self._correct(split, treatment, of_seed),
            self._correct(split, rival, of_seed),
            classes=distinct.labels,
            groups=self._store.groups[distinct.rows],
            train_group_weights=self._train_group_weights,
            clusters=clusters_of(self._store, distinct.rows),
            minority=self.lacking,
            confidence=self._confidence,
            generator=lambda statistic: seeded(self._run, split, *others, rival, statistic, *seed),
        )

    def _correct(self, split: str, arm: Arm, of_seed: SeedPredictions | None) -> Bools:
        """Whether each distinct image is answered rightly, (N,), by this model or that of a further seed."""
        logits = self._logits[split][arm]
        predictions = logits.predictions if of_seed is None else of_seed.predictions[split][arm]
        return np.asarray((predictions == logits.labels)[self._store.firsts(logits.rows)])

    def differences(self, split: str) -> list[section.ArmDifference]:
        """Each treatment minus each other arm, in every statistic that the split allows."""
        return [
            section.ArmDifference(a=treatment, b=rival, **self._named(difference))
            for (treatment, rival), differences in self._compared[split].items()
            for difference in differences
        ]

    def deciding_difference(self, split: str, a: Arm, b: Arm) -> section.SplitDifference | None:
        """a − b in the statistic that decides on the split, over all seeds.
        None if the split was not evaluated, has too few subjects to tell, or if one of the models cannot be
        told from guessing."""
        if split not in self._logits:
            return None
        decision = self._verdict(split, a, b)
        if decision.reason in ("few_subjects", "not_above_chance"):
            return None
        return section.SplitDifference(split=split, a=a, b=b, **decision.deciding_difference.model_dump())

    def differs(self, treatment: Arm) -> bool:
        """False for a last layer where no class was divided: it equals its control, and gets no verdict."""
        return self._divided or treatment is not Arm.RETRAINED

    def decision(self, treatment: Arm) -> section.Verdict | None:
        """What the test split shows of a treatment, whether or not it gets a verdict; None if that split was
        not evaluated."""
        if VERDICT_SPLIT not in self._logits:
            return None
        return self._verdict(VERDICT_SPLIT, treatment, self.rivals[treatment])

    @cached_property
    def verdicts(self) -> dict[Arm, section.Verdict]:
        """By treatment, on the test split."""
        return self._verdicts(VERDICT_SPLIT)

    @cached_property
    def val_verdicts(self) -> dict[Arm, section.Verdict]:
        """By treatment, on the validation split, where its labelled groups decide: all that there are."""
        if self.lacking:
            return {}
        return {
            arm: decided
            for arm, decided in self._verdicts("val").items()
            if self.by_all_groups(decided.deciding_difference)
        }

    def by_all_groups(self, difference: section.Difference) -> bool:
        """Whether all groups that there are decided: a minority that is too small to take part would leave
        the judgement to those who have the shortcut."""
        everywhere = len(np.unique(self._store.groups[self._store.groups >= 0]))
        return difference.statistic == "worst_group_accuracy" and difference.strata == everywhere

    def _verdicts(self, split: str) -> dict[Arm, section.Verdict]:
        if split not in self._logits:
            return {}
        return {
            arm: self._verdict(split, arm, rival).model_copy(
                update={
                    "beaten_by": self._beaten_by(split, arm, rival),
                    "control_cost": self._control_cost(split, rival),
                    "hurt_by_columns": [
                        name
                        for name, verdicts in self.by_column.items()
                        if split == VERDICT_SPLIT and verdicts[arm].verdict == "hurt"
                    ],
                }
            )
            for arm, rival in self.rivals.items()
            if self.differs(arm)
        }

    @cached_property
    def by_column(self) -> dict[str, dict[Arm, section.Verdict]]:
        """The verdicts by treatment, on the test split, by the groups of class × each of the `columns`.
        Their intervals are so wide that all columns together err as often as the one verdict."""
        confidence = 1 - (1 - self._confidence) / max(len(self._columns), 1)
        return {
            name: Figures(
                FiguresContext(replace(self._context, images=with_groups)),
                self._logits,
                self._further,
                divided=self._divided,
                confidence=confidence,
                is_by_column=True,
            ).verdicts
            for name, with_groups in self._columns.items()
        }

    def _control_cost(self, split: str, rival: Arm) -> float | None:
        if rival not in CONTROLS or self._plain is None:
            return None
        difference = self.deciding_difference(split, rival, self._plain)
        return -difference.estimate if difference and difference.high < 0 else None

    def _beaten_by(self, split: str, treatment: Arm, rival: Arm) -> Arm | None:
        """A plain model above chance, other than the rival, that groups of the split show to be better."""
        for arm in self.plain_arms:
            if arm is rival or not self.learned(arm):
                continue
            difference = self.deciding_difference(split, treatment, arm)
            if difference and difference.statistic == "worst_group_accuracy" and difference.high < 0:
                return arm
        return None

    def _verdict(self, split: str, a: Arm, b: Arm) -> section.Verdict:
        """The verdict on model a, against model b."""
        if (split, a, b) not in self._decided:
            self._decided[split, a, b] = self._decide(split, a, b)
        return self._decided[split, a, b]

    def _decide(self, split: str, a: Arm, b: Arm) -> section.Verdict:
        validation = [
            (arm, seed, of_seed) for arm in (a, b) for seed, of_seed in self._validation(arm).items()
        ]
        by_seed, differences = self._over_seeds(split, a, b)
        plain = self._plain if b in CONTROLS else None
        decision = verdict(
            differences,
            plain=self._over_seeds(split, a, plain)[1] if plain else (),
            validation=[of_seed for _, _, of_seed in validation],
            by_column=self._is_by_column,
        )
        few_lacking = self.lacking and decision.reason in ("small_groups", "no_groups")
        return section.Verdict(
            verdict=decision.verdict,
            reason="few_lacking" if few_lacking else decision.reason,
            at_chance=[
                at_chance(arm, seed if self._further else None, of_seed)
                for arm, seed, of_seed in validation
                if not of_seed.above_chance
            ],
            split=split,
            inferred=bool(self.lacking) and decision.deciding.statistic == "worst_group_accuracy",
            a=a,
            b=b,
            **decision.standings(is_control=b in CONTROLS),
            deciding_difference=section.Difference(**self._named(decision.deciding)),
            erm_difference=decision.to_plain and section.Difference(**self._named(decision.to_plain)),
            accuracy_difference=section.Difference(**self._named(decision.average)),
            seeds=[
                section.SeedDifference(seed=seed, estimate=one.estimate)
                for seed, of_seed in by_seed.items()
                for one in of_seed
                if self._further and one.statistic == decision.deciding.statistic
            ],
        )

    def _over_seeds(
        self, split: str, a: Arm, b: Arm
    ) -> tuple[dict[int, tuple[Difference, ...]], tuple[Difference, ...]]:
        """a − b in every statistic that the split allows: by seed, and over all seeds."""
        by_seed = {self._run.seed: self._compared[split].get((a, b)) or self._compare(split, a, b)}
        for of_seed in self._further:
            by_seed[of_seed.seed] = self._compare(split, a, b, of_seed)
        if not self._further:
            return by_seed, by_seed[self._run.seed]
        return by_seed, tuple(map(mean_over_seeds, zip(*by_seed.values(), strict=True)))

    def _named(self, difference: Difference) -> dict[str, Any]:
        """The difference with the worst classes or groups named instead of numbered."""
        group = difference.statistic == "worst_group_accuracy"
        names = self._store.group_names if group else self._store.classes
        lowest = {
            end: None if key is None else names[key]
            for end, key in (("worst_a", difference.worst_a), ("worst_b", difference.worst_b))
        }
        return difference._asdict() | lowest
