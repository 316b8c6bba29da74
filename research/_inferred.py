"""What the product infers on a training set of `research.rivals`, and its models, beside the true groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from masktune.contract.vocabulary import Arm
from models.evaluation.paired import Difference
from models.evaluation.verdict import Verdict, compare, verdict
from models.mitigation.features import Head
from models.mitigation.finder import infer_minority
from models.mitigation.minority import Minority
from models.mitigation.pattern_groups import pattern_groups
from models.mitigation.pattern_judge import PatternJudge, fit_pattern_judge
from models.mitigation.wrong_labels import are_wrong
from models.types import Bools, Floats, Labels
from research.rivals.cases import figures_on_test, read_training
from research.rivals.features import Photographs
from research.rivals.methods import ERM, RIVALS
from research.rivals.protocol import CONFIG, Training, retrain
from research.rivals.sets import NO_SHORTCUT, OWN_SHARE, PLANTS, Case, cut_to_share

Gate = Literal["auto", "open"]
Row = dict[str, Any]
BEFORE, CONTROL, HEAD = Arm.ERM, Arm.RETRAINED_CONTROL, Arm.RETRAINED
DRAWS = 10
LISTED = 100


class Found(NamedTuple):
    """What the finder says of a training set, and the models made of it."""

    minority: Minority
    stage: int | None
    judge: PatternJudge | None
    heads: Mapping[Arm, Head]

    @property
    def decides(self) -> bool:
        """Whether the inferred groups may decide; after a gate that was forced open, if a person agreed."""
        return self.judge is not None and self.minority.reason in ("stages_agree", "opened")

    @property
    def is_divided(self) -> bool:
        groups = self.minority.groups
        return groups.inferred and len(groups.names) > len(self.heads[HEAD].bias)


class Judged(NamedTuple):
    """Images as the product sees them, without places and true labels: the labels (N,) as given, whether
    each model answers with them, the inferred groups, −1 for none, of which `lacking` lack the pattern, and
    how doubtful each label is."""

    labels: Labels
    right: Mapping[Arm, Bools]
    groups: Labels
    lacking: tuple[int, ...]
    doubt: Floats

    def differences(self, a: Arm, b: Arm, groups: Labels | None) -> tuple[Difference, ...]:
        """a − b in every statistic."""
        return compare(
            self.right[a],
            self.right[b],
            classes=self.labels,
            groups=groups,
            minority=self.lacking if groups is self.groups else (),
            generator=lambda _: np.random.default_rng(0),
        )

    def verdict(self, a: Arm, b: Arm, groups: Labels | None) -> Verdict:
        """Beside a control, plain training counts too."""
        plain = self.differences(a, BEFORE, groups) if (a, b) == (HEAD, CONTROL) else ()
        return verdict(self.differences(a, b, groups), plain=plain)


def find(training: Training, gate: Gate) -> Found:
    features, config = training.features, replace(CONFIG, gate=gate)
    minority = infer_minority(features, config, classes=training.classes, seed=training.seed)
    control = training.control.head
    head = retrain(training, minority.groups).head if minority.is_open else control
    heads = {BEFORE: RIVALS[ERM].fit(training).head, CONTROL: control, HEAD: head}
    if minority.patterns is None:
        return Found(minority, None, None, heads)
    stage = [one.name for one in features.stages].index(minority.stage or "")
    return Found(minority, stage, fit_pattern_judge(features, minority), heads)


def judge(found: Found, images: Photographs) -> Judged:
    """As `worker.stages.infer_groups` and `worker.report.inferred` divide a split."""
    labels, label_judge = images.labels, found.minority.label_judge
    right = {arm: head.logits(images.last).argmax(1) == labels for arm, head in found.heads.items()}
    if found.judge is None or found.stage is None:
        return Judged(labels, right, np.full(len(labels), -1), (), np.zeros(len(labels)))
    pooled = torch.from_numpy(images.vectors[found.stage].astype(np.float32))
    patterns = found.judge.patterns(found.judge.axes.coordinates(pooled).numpy())
    doubt = np.zeros(len(labels))
    if label_judge is not None:
        doubt = label_judge.doubt(images.last, labels, patterns)
    classes = [str(label) for label in range(len(found.judge.head.bias))]
    groups = pattern_groups(labels, patterns, classes)
    return Judged(labels, right, groups.assigned, tuple(np.flatnonzero(groups.lacking).tolist()), doubt)


def measure(case: Case, *, flips: float, gate: Gate, only: int | None = None) -> Row:
    """The figures of a training set, the share `flips` of whose labels, and of its test half's, is wrong; of
    the class `only` alone, if one is named."""
    rng = np.random.default_rng([case.repeat, 5])
    train, test = (mislabelled(images, flips, rng, only) for images in (case.train, case.test))
    found = find(read_training(case._replace(train=train)), gate)
    judged, true = judge(found, test), true_groups(case.test)
    row: Row = {"reason": found.minority.reason, "decides": found.decides, "is_divided": found.is_divided}
    for arm, head in found.heads.items():
        row |= {f"{arm} {name}": figure for name, figure in figures_on_test(case, head).items()}
        row[f"{arm} inferred"] = worst_group(judged.right[arm], judged.groups) if found.decides else None
    row["verdict"] = judged.verdict(HEAD, CONTROL, judged.groups).verdict if found.decides else None
    row["true verdict"] = judged.verdict(HEAD, CONTROL, true).verdict
    if found.decides and case.kind in PLANTS and case.share != NO_SHORTCUT and not flips:
        row |= _as_users_have(case, found)
    row["recommended"] = arm = recommended(found, judged)
    for one in judged.differences(arm, BEFORE, true):
        row[f"{one.statistic} gained"] = (one.estimate, one.low, one.high)
    doubt = found.minority.label_doubt
    doubt = np.zeros(len(train.labels)) if doubt is None else doubt
    row["altered"] = are_wrong(doubt, train.labels)
    row |= _named("train", doubt, train.labels != case.train.labels)
    row |= _named("test", judged.doubt, test.labels != case.test.labels)
    lacking = (case.train.labels != case.train.places) & (train.labels == case.train.labels)
    return row | {"minority lost": float((doubt > 0.5)[lacking].mean())}


def mislabelled(
    images: Photographs, share: float, rng: np.random.Generator, only: int | None = None
) -> Photographs:
    """The same images of two classes, each with the other's label with probability `share`; of the class
    `only` alone, if one is named."""
    wrong = rng.random(len(images.labels)) < share
    if only is not None:
        wrong &= images.labels == only
    return replace(images, labels=np.abs(images.labels - wrong))


def true_groups(images: Photographs) -> Labels:
    return np.asarray(images.labels * (int(images.places.max()) + 1) + images.places)


def worst_group(right: Bools, groups: Labels) -> float:
    known = groups >= 0
    counts = np.bincount(groups[known])
    return float((np.bincount(groups[known], right[known])[counts > 0] / counts[counts > 0]).min())


def _as_users_have(case: Case, found: Found) -> Row:
    """The worst group by inferred minus by true groups, on draws of the test half that have the shortcut in
    95 % of each class."""
    errors: dict[Arm, list[float]] = {CONTROL: [], HEAD: []}
    for draw in range(DRAWS):
        images = case.test.take(cut_to_share(case.test, OWN_SHARE, draw))
        judged = judge(found, images)
        for arm, of_arm in errors.items():
            right = judged.right[arm]
            of_arm.append(worst_group(right, judged.groups) - worst_group(right, true_groups(images)))
    return {f"{arm} as users have": of_arm for arm, of_arm in errors.items()}


def rows_by(rows: Sequence[Row], *fields: str) -> list[list[Row]]:
    """Rows that are equal in these fields together, in the order of the first of each."""
    keys = dict.fromkeys(tuple(row[field] for field in fields) for row in rows)
    return [[row for row in rows if tuple(row[field] for field in fields) == key] for key in keys]


def recommended(found: Found, judged: Judged) -> Arm:
    """As `worker.report.recommendation.choose` without labelled groups: the divided head, unless inferred
    groups show that a plain model is better, or detect nothing and have it below plain training; else the
    model before, unless the control is better."""
    groups = judged.groups if found.decides else None
    plain = CONTROL if judged.verdict(CONTROL, BEFORE, groups).deciding.low > 0 else BEFORE
    if not found.is_divided:
        return plain
    deciding = [judged.verdict(HEAD, arm, groups).deciding for arm in (BEFORE, CONTROL)]
    is_beaten = any(one.high < 0 and one.statistic == "worst_group_accuracy" for one in deciding)
    undetected = judged.verdict(HEAD, CONTROL, groups).verdict == "no_detectable_effect"
    return plain if is_beaten or (undetected and deciding[0].estimate < 0) else HEAD


def _named(split: str, doubt: Floats, wrong: Bools) -> Row:
    """How many labels are wrong, are named, and are both, of all and of the first hundred named."""
    named = doubt > 0.5
    listed = np.argsort(-doubt, kind="stable")[: min(LISTED, int(named.sum()))]
    counts = (wrong.sum(), named.sum(), (named & wrong).sum(), len(listed), wrong[listed].sum())
    return {f"{split} labels": [int(count) for count in counts]}
