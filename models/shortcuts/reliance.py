"""Does a model rely on a shortcut? One written rule combines signs from its metrics. Does not import torch.

A sign of failure: the model is wrong much more often in some group or on the test split. A sign of a cause:
something small or simple could serve as a shortcut. Either alone may have an innocent explanation (a hard
group; a property that is the task itself); both together are what a shortcut looks like.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.evaluation.metrics import Metrics
from models.evaluation.verdict import LEAST_GROUP
from models.shortcuts.masking_cost import MaskingCost
from models.statistics import upper_ends

Evidence = Literal["strong", "large_gap", "some", "none_seen", "not_testable"]
Kind = Literal["failure", "cause"]
Name = Literal["groups", "shift", "mask", "property"]

GAP = 0.05
"""A smaller gap in accuracy is no sign, even if it is statistically significant."""
WEAK_GAP = 0.2
"""A larger one, of a group below the average: the model is weak in that group."""
SMALL_MASK, MANY_CHANGES = 0.15, 0.1

RULE = (
    f"Signs of failure: accuracy is at least {100 * GAP:.0f} points lower in a group than on all samples, or "
    "on the test split than on validation, with disjoint 95 % intervals. Signs of a cause: the model's own "
    f"mask covers at most {100 * SMALL_MASK:.0f} % of the image and changes at least "
    f"{100 * MANY_CHANGES:.0f} points more answers than the same mask elsewhere (lower end of the interval); "
    "or one simple property predicts the class, rated strong. Both kinds: signs of a shortcut, either of "
    "which may be innocent. One kind: some signs; strong ones if a group of at least "
    f"{LEAST_GROUP} is over {100 * WEAK_GAP:.0f} points lower. Neither: no sign, if the groups of the split "
    "could have shown a failure; images that all have the shortcut cannot. Nor can a model be tested whose "
    f"group is {100 * GAP:.0f} points lower, which may be chance, or where a column of metadata is rated "
    "strong: it may be used or not. Failures of a model that only guesses on validation are no signs."
)


@dataclass(frozen=True)
class Sign:
    """One check: whether it is a sign, on `n` samples, and a sentence with its figures.
    `gap`: how far the accuracy in a group is below that on all samples, 0..1; 0 if the group is too small to
    say."""

    name: Name
    kind: Kind
    present: bool
    n: int
    sentence: str
    gap: float = 0.0


@dataclass(frozen=True)
class ShortcutReliance:
    """The signs, the evidence that they amount to, and the rule. `reason` says why it is `not_testable`."""

    evidence: Evidence
    rule: str
    signs: tuple[Sign, ...]
    reason: str | None = None


def read(
    signs: Sequence[Sign],
    validation: Metrics | None = None,
    *,
    judged: Metrics | None = None,
    split: str = "test",
    lacking: Collection[int] = (),
    column: str | None = None,
) -> ShortcutReliance:
    """Combine the signs by `RULE`; `validation` holds the metrics on that split, if the model has them,
    `judged` those on the `split` where failures were sought, None for training images. `lacking` are its
    groups whose images lack the pattern of their class, where they were inferred. `column` is the sentence
    on a metadata column that predicts the class, rated strong.

    A model that is no better than chance on validation has learned nothing, or only what does not hold there.
    Then neither its failures nor their absence says anything about a shortcut. Nor does their absence if no
    groups say which images break a pattern: a split may have been cut from the same images as training.
    """
    guess = None if validation is None else _guess(validation)
    if guess is not None:
        signs = [
            _uncounted(sign, guess) if sign.kind == "failure" and sign.present else sign for sign in signs
        ]
    kinds = {sign.kind for sign in signs if sign.present}
    if kinds:
        is_large = any(sign.present and sign.gap > WEAK_GAP for sign in signs)
        of_one_kind: Evidence = "large_gap" if is_large else "some"
        return ShortcutReliance("strong" if len(kinds) == 2 else of_one_kind, RULE, tuple(signs))
    if guess is not None:
        reason = f"{guess}: it has learned nothing, or only what does not hold there."
        return ShortcutReliance("not_testable", RULE, tuple(signs), reason)
    if not signs:
        return ShortcutReliance("not_testable", RULE, (), "There was nothing to check.")
    doubt = _lower_group(judged, split) or _hidden(judged, split, lacking) or _unchecked(column)
    return ShortcutReliance("not_testable" if doubt else "none_seen", RULE, tuple(signs), doubt)


def _unchecked(column: str | None) -> str | None:
    """That a metadata column may be a shortcut, by the sentence on it; None without such a column."""
    if column is None:
        return None
    return (
        f"{column} No check says whether the model goes by it: it may be a shortcut, or say the class in "
        "other words."
    )


def _lower_group(judged: Metrics | None, split: str) -> str | None:
    """That the model seems to fail in a group, though it is not sure; else None."""
    worst = None if judged is None else min(judged.groups, key=lambda group: group.accuracy, default=None)
    if judged is None or worst is None or judged.accuracy - worst.accuracy < GAP:
        return None
    return (
        f"On the {split} split, its accuracy is {_share(worst.accuracy, worst.low, worst.high)} in the group "
        f"{worst.name}, and {_share(judged.accuracy, judged.low, judged.high)} on all samples: that may be "
        "chance, or a shortcut."
    )


def _hidden(judged: Metrics | None, split: str, lacking: Collection[int]) -> str | None:
    """Why failures would not show on the split; None if they would, by groups that could also decide a
    verdict, one of those that are `lacking` the pattern among them."""
    if judged is None:
        return (
            "The model was judged on training images alone: it may be right on them because it has seen them."
        )
    counted = "images" if judged.n_subjects is None else "subjects"
    large = [group for group in judged.groups if group.independent >= LEAST_GROUP]
    if not judged.groups:
        why = f"the {split} split has no groups that say which of its images break a pattern"
    elif len(judged.groups) == 1:
        why = (
            f"all images of the {split} split that have a group are in the same one, {judged.groups[0].name}"
        )
    elif len(large) < 2:
        why = f"fewer than two groups of the {split} split have {LEAST_GROUP} {counted}"
    elif 2 * sum(group.n for group in large) < judged.n:
        why = (
            f"the groups of the {split} split that have {LEAST_GROUP} {counted} hold less than half of its "
            "images"
        )
    elif lacking and not any(group.id in lacking for group in large):
        why = f"of no class do {LEAST_GROUP} {counted} of the {split} split lack the pattern"
    else:
        return None
    return (
        f"No check shows a shortcut, but {why}: a model that goes by a pattern is right on all images that "
        "have it."
    )


def _guess(validation: Metrics) -> str | None:
    """Opening of a sentence saying that the model is no better than chance; None if it is better."""
    if validation.above_chance:
        return None
    low, high = validation.balanced_accuracy_low, validation.balanced_accuracy_high
    return (
        f"On validation, its mean accuracy over classes is {_share(validation.balanced_accuracy, low, high)},"
        f" no better than a guess ({100 * validation.chance:.1f} %)"
    )


def _uncounted(sign: Sign, guess: str) -> Sign:
    sentence = f"{sign.sentence} {guess}: this says nothing about a shortcut."
    return dataclasses.replace(sign, present=False, sentence=sentence)


def of_groups(metrics: Metrics, *, split: str) -> Sign | None:
    """Compare the worst group with all samples; None with fewer than two groups.

    One group must show both the gap and the separate interval. Otherwise a tiny group that is lowest by
    chance could supply the gap, and a large group that is certainly but only slightly lower the interval.
    """
    low, high = metrics.worst_group_accuracy_low, metrics.worst_group_accuracy_high
    if low is None or high is None or len(metrics.groups) < 2:
        return None
    ends = upper_ends([group.effective for group in metrics.groups])
    surely = [
        group
        for group, end in zip(metrics.groups, ends, strict=True)
        if metrics.accuracy - group.accuracy >= GAP and end < metrics.low
    ]
    worst = min(metrics.groups, key=lambda group: group.accuracy)
    lowest = min(surely, key=lambda group: group.accuracy, default=worst)
    if lowest.accuracy > worst.accuracy:
        low, high = lowest.low, float(ends[metrics.groups.index(lowest)])
    name = "its worst group" if lowest.accuracy == worst.accuracy else "one group"
    return Sign(
        name="groups",
        kind="failure",
        present=bool(surely),
        n=metrics.n,
        sentence=f"On the {split} split, its accuracy is {_share(lowest.accuracy, low, high)} in {name}, "
        f"{lowest.name}, and {_share(metrics.accuracy, metrics.low, metrics.high)} on all samples.",
        gap=metrics.accuracy - lowest.accuracy if lowest.independent >= LEAST_GROUP else 0.0,
    )


def of_shift(validation: Metrics, test: Metrics) -> Sign:
    """Compare test with validation: a drop means that something learned does not hold on the test split."""
    gap = validation.accuracy - test.accuracy
    return Sign(
        name="shift",
        kind="failure",
        present=gap >= GAP and test.high < validation.low,
        n=test.n,
        sentence=f"Its accuracy is {_share(validation.accuracy, validation.low, validation.high)} on the "
        f"validation split and {_share(test.accuracy, test.low, test.high)} on the test split.",
    )


def of_mask(cost: MaskingCost, *, split: str) -> Sign:
    """Compare how many answers the model's own mask changes with how many the same mask elsewhere does."""
    beyond = cost.changes_beyond_elsewhere
    empty = (
        f" On {cost.nothing_masked:,} of {cost.n:,} images, it hides nothing." if cost.nothing_masked else ""
    )
    return Sign(
        name="mask",
        kind="cause",
        present=cost.masked_share <= SMALL_MASK and beyond.low >= MANY_CHANGES,
        n=cost.n,
        sentence=f"On the {split} split, its own mask hides where it looks, "
        f"{_share(cost.masked_share, cost.masked_low, cost.masked_high)} of the image, and changes "
        f"{_points(beyond.estimate, beyond.low, beyond.high)} more of its answers than the same mask "
        f"elsewhere.{empty}",
    )


def of_property(check: Mapping[str, Any]) -> Sign | None:
    """Read the import's finding (`models.shortcuts.ShortcutCheck` as JSON); None if nothing was judged."""
    if not check.get("findings"):
        return None
    return Sign(
        name="property",
        kind="cause",
        present=check["strength"] == "strong",
        n=check["n"],
        sentence=f"{check['sentence']} (p = {check['findings'][0]['p_value']:.3g})",
    )


def _share(estimate: float, low: float, high: float) -> str:
    return f"{100 * estimate:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def _points(estimate: float, low: float, high: float) -> str:
    return f"{100 * estimate:.1f} points ({100 * low:.1f} to {100 * high:.1f})".replace("-", "−")
