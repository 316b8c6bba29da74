"""The result of the check: counts and intervals of each property, strong, weak or none, and a sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from models.shortcuts.properties import METADATA, Property
from models.statistics import Proportion, mean_share, percent, wilson
from models.types import Labels

Strength = Literal["strong", "weak", "none"]

ALPHA = 0.05
STRONG, STRONG_FOR_ONE = 0.5, 0.8
MIN_PER_CLASS = 10  # sampled images

RULE = (
    f"strong: the family-wise p-value is at most {ALPHA}, and the lower end of the effect's 95 % interval is "
    f"at least {STRONG} over all classes, or {STRONG_FOR_ONE} for the class that the property tells best. "
    "weak: only the p-value is low enough. none: it is not. An effect is 0 at chance and 1 if every image is "
    "classified correctly."
)


@dataclass(frozen=True)
class BestClass:
    """The class that a property tells best from all others: `hits` of `n`, and `false` of `others`.

    `effect` is hits/n − false/others, with Newcombe's 95 % interval (which holds for one class, not for
    the best of several).
    """

    name: str
    n: int
    hits: int
    others: int
    false: int
    effect: float
    low: float
    high: float


@dataclass(frozen=True)
class Transfer(Proportion):
    """The rule learned on the judged split, applied to the `n` samples of another `split`."""

    split: str


@dataclass(frozen=True)
class Finding(Proportion):
    """How well one property predicts the class, by 5-fold cross-validation over `n` samples.

    The baseline of `accuracy` is `majority`, the share of the largest class of the same samples; that
    of `balanced_accuracy` (classes weighted equally) is `chance`, one over the number of classes.
    `effect` rescales `balanced_accuracy` to 0 at chance and 1 at best. Intervals are 95 %, from Wilson's
    for each share. `p_value` is family-wise: how often the best of all properties does as well on
    permuted labels.
    """

    property: str
    where: str
    features: tuple[str, ...]
    strength: Strength
    majority: float
    balanced_accuracy: float
    balanced_low: float
    balanced_high: float
    chance: float
    effect: float
    effect_low: float
    effect_high: float
    p_value: float
    best_class: BestClass
    elsewhere: Transfer | None
    sentence: str


@dataclass(frozen=True)
class MetadataCheck:
    """The columns of metadata, on the same images, the most predictive first: p-values are of one family with
    those of the image. `notes` say in a sentence each which columns were not judged, and why.

    They are no part of the image's findings, for a column may state the class in other words.
    """

    strength: Strength
    sentence: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ShortcutCheck:
    """All properties of the image, the most predictive first.
    `strength` is that of the strongest.

    `n` of the `available` pictures of `split` were judged, one of each subject where there are any. Classes
    with fewer than `MIN_PER_CLASS` sampled images, or beyond the largest twenty, are `left_out`; without two
    classes there are no findings. `metadata` is None without any column.
    """

    split: str
    n: int
    available: int
    classes: tuple[str, ...]
    left_out: tuple[str, ...]
    permutations: int
    rule: str
    strength: Strength
    sentence: str
    findings: tuple[Finding, ...]
    metadata: MetadataCheck | None = None


class PropertyCounts(NamedTuple):
    """Cross-validated counts of one property, (K,): one per class.

    `counts` are the samples, `predicted` the balanced rule's predictions and `hits` the correct ones among
    them; `correct` is the accurate rule's total.
    """

    property: Property
    hits: Labels
    predicted: Labels
    counts: Labels
    correct: int
    p_value: float
    elsewhere: Transfer | None


def make_finding(counted: PropertyCounts, names: Sequence[str]) -> Finding:
    """Judge one property by `RULE`; `names` are those of the K classes."""
    n, chance = int(counted.counts.sum()), 1 / len(names)
    balanced = float((counted.hits / counted.counts).mean())
    low, high = mean_share(list(zip(counted.hits.tolist(), counted.counts.tolist(), strict=True)))
    effect, effect_low, effect_high = ((share - chance) / (1 - chance) for share in (balanced, low, high))
    best = _best_class(counted, names)
    enough = effect_low >= STRONG or (len(names) > 2 and best.low >= STRONG_FOR_ONE)
    telling: Strength = "strong" if enough else "weak"
    wilson_low, wilson_high = wilson(counted.correct, n)
    unworded = Finding(
        property=counted.property.name,
        where=counted.property.where,
        features=counted.property.features,
        strength=telling if counted.p_value <= ALPHA else "none",
        n=n,
        correct=counted.correct,
        accuracy=counted.correct / n,
        low=wilson_low,
        high=wilson_high,
        majority=float(counted.counts.max() / n),
        balanced_accuracy=balanced,
        balanced_low=low,
        balanced_high=high,
        chance=chance,
        effect=effect,
        effect_low=effect_low,
        effect_high=effect_high,
        p_value=counted.p_value,
        best_class=best,
        elsewhere=counted.elsewhere,
        sentence="",
    )
    return dataclasses.replace(unworded, sentence=_sentence(unworded, counted.property, names))


def _best_class(counted: PropertyCounts, names: Sequence[str]) -> BestClass:
    others = counted.counts.sum() - counted.counts
    false = counted.predicted - counted.hits
    best = int((counted.hits / counted.counts - false / others).argmax())
    k, n, wrong, rest = (int(column[best]) for column in (counted.hits, counted.counts, false, others))
    effect = k / n - wrong / rest
    share, false_share = wilson(k, n), wilson(wrong, rest)
    down = ((k / n - share.low) ** 2 + (false_share.high - wrong / rest) ** 2) ** 0.5
    up = ((share.high - k / n) ** 2 + (wrong / rest - false_share.low) ** 2) ** 0.5
    return BestClass(names[best], n, k, rest, wrong, effect, effect - down, effect + up)


_STRENGTHS: tuple[Strength, ...] = get_args(Strength)
_PLACES = ("corner", "edge", "centre", "image", "file", METADATA)


def sort_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Sort by strength, then by effect; among those within the best one's interval, local properties first.

    A painted corner also shows in the mean colour of the image; the corner is the better answer.
    """
    ranked = sorted(findings, key=lambda f: (_STRENGTHS.index(f.strength), -_reach(f)[0]))
    if not ranked or ranked[0].strength == "none":
        return tuple(ranked)
    best = ranked[0]
    alike = [f for f in ranked if f.strength == best.strength and _reach(f)[0] >= _reach(best)[1]]
    return (*sorted(alike, key=_place), *ranked[len(alike) :])


def _reach(finding: Finding) -> tuple[float, float]:
    """The larger of the two effects, and the lower end of its interval."""
    best = finding.best_class
    return max((finding.effect, finding.effect_low), (best.effect, best.low))


def _place(finding: Finding) -> int:
    return next(i for i, word in enumerate(_PLACES) if word in finding.where)


def summary(findings: Sequence[Finding]) -> str:
    """A summary of all findings on the image, which must be sorted."""
    best = findings[0]
    if best.strength == "none":
        return (
            f"As far as {best.n} images show, no simple property of the image predicts the label better than "
            "chance."
        )
    others = sum(f.strength != "none" for f in findings) - 1
    more = f" {others} more propert{'ies predict' if others > 1 else 'y predicts'} it too." if others else ""
    return best.sentence + more


def metadata_check(findings: Sequence[Finding], notes: Sequence[str]) -> MetadataCheck:
    """The findings on columns of metadata, which must be sorted; there may be none."""
    telling = [f for f in findings if f.strength != "none"]
    if not findings:
        sentence = "No metadata column could be judged."
    elif not telling:
        n = findings[0].n
        sentence = (
            f"As far as {n} images show, no metadata column that was judged predicts the label better than "
            "chance."
        )
    else:
        others = len(telling) - 1
        more = f" {others} more column{'s predict' if others > 1 else ' predicts'} it too." if others else ""
        sentence = telling[0].sentence + more
    strength = findings[0].strength if findings else "none"
    return MetadataCheck(strength, sentence, tuple(findings), tuple(notes))


def classes_left_out(left_out: Sequence[str], classes: int) -> str:
    """That not all of `classes` were judged; "" if they were."""
    if not left_out:
        return ""
    return f" Not judged: {len(left_out)} of {classes} classes, the smallest."


def one_of_each_subject(n: int) -> str:
    """Why no more than `n` images count."""
    return f"One image of each subject counts, {n:,} in all: those of one subject are not independent."


def no_findings(n: int, left_out: Sequence[str]) -> ShortcutCheck:
    """The check if there are not two classes to tell apart."""
    sentence = f"Nothing was judged: fewer than two classes have at least {MIN_PER_CLASS} sampled images."
    return ShortcutCheck("", n, n, (), tuple(left_out), 0, RULE, "none", sentence, ())


def _sentence(finding: Finding, measured: Property, names: Sequence[str]) -> str:
    subject = measured.phrase[0].upper() + measured.phrase[1:]
    what = f"{names[0]} from {names[1]}" if len(names) == 2 else f"the {len(names)} classes apart"
    if finding.strength == "none":
        return f"{subject} alone does not tell {what} better than chance, as far as {finding.n} images show."
    best = finding.best_class
    if len(names) > 2 and best.effect >= 2 * finding.effect:
        hits, false = percent(best.hits / best.n), percent(best.false / best.others)
        return (
            f"{subject} alone tells {best.name} from the other classes: "
            f"it picks out {hits} of {best.name} and {false} of the rest."
        )
    sentence = f"{subject} alone tells {what} with {_plainest(finding)}."
    if finding.elsewhere is not None:
        there = finding.elsewhere
        sentence += f" On the {there.split} split, the same rule is right on {percent(there.accuracy)}."
    return sentence


def _plainest(finding: Finding) -> str:
    """The first of the two accuracies that is above its baseline."""
    if finding.low > finding.majority:
        return f"{percent(finding.accuracy)} accuracy (chance: {percent(finding.majority)})"
    right = percent(finding.balanced_accuracy)
    return f"{right} accuracy, with all classes weighted equally (chance: {percent(finding.chance)})"
