"""Does a model lean on a shortcut? Signs gathered from figures by one written rule. No torch.

A sign of failure: the model errs much more where a circumstance differs. A sign of a cause: there is
something small or simple that would do as a shortcut. Either alone has innocent reasons (a hard
group; a property that is the task itself); both together are what a shortcut looks like.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.evaluate import Metrics
from models.masking_cost import MaskingCost

Reading = Literal["leans", "some_signs", "no_sign"]
Kind = Literal["failure", "cause"]
Name = Literal["groups", "shift", "mask", "property"]

GAP = 0.05
"""Less is no sign, however sure it is."""
SMALL_MASK, MANY_CHANGES = 0.15, 0.1

RULE = (
    "Signs of failure: the worst group beside all samples, or the test split beside validation, is right at "
    f"least {100 * GAP:.0f} points less often, and the 95 % intervals do not meet. Signs of a cause: the "
    f"model's own mask covers at most {100 * SMALL_MASK:.0f} % of the image and changes at least "
    f"{100 * MANY_CHANGES:.0f} points more of its answers than the same mask elsewhere (lower end of the "
    "95 % interval); or one simple property of the image tells the class, rated strong. Both kinds: it leans "
    "on a shortcut. One kind: some signs. Neither: no sign. The failures of a model that is no better than a "
    "guess on the validation split (the 95 % interval of its mean over classes reaches chance) are no signs. "
    "Slices inferred from where the model looks are no signs either: they are cut from the model's own "
    "answers, and one that holds just its mistakes is found in an honest model too."
)


@dataclass(frozen=True)
class Sign:
    """One thing that was looked at: whether it is a sign, of `n` samples, in a sentence with its figures."""

    name: Name
    kind: Kind
    found: bool
    n: int
    sentence: str


@dataclass(frozen=True)
class Leaning:
    """What the signs come to, and by which rule."""

    reading: Reading
    rule: str
    signs: tuple[Sign, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)


def read(signs: Sequence[Sign]) -> Leaning:
    """Sum up by `RULE`."""
    kinds = {sign.kind for sign in signs if sign.found}
    reading: Reading = "leans" if len(kinds) == 2 else "some_signs" if kinds else "no_sign"
    return Leaning(reading, RULE, tuple(signs))


def unless_guessing(signs: Sequence[Sign], validation: Metrics) -> list[Sign]:
    """The same signs, but that of failure none is found where the model has learned nothing to lean on."""
    chance = 1 / len(validation.classes)
    low, high = validation.balanced_accuracy_low, validation.balanced_accuracy_high
    if len(validation.classes) < 2 or low > chance:
        return list(signs)
    told = (
        f" On validation it is right on {_share(validation.balanced_accuracy, low, high)} over the classes, "
        f"no better than a guess ({100 * chance:.1f} %): this says nothing of a shortcut."
    )
    return [
        dataclasses.replace(sign, found=False, sentence=sign.sentence + told)
        if sign.kind == "failure" and sign.found
        else sign
        for sign in signs
    ]


def of_groups(metrics: Metrics, *, split: str) -> Sign | None:
    """The worst group beside all samples; None without groups."""
    worst, low, high = (
        metrics.worst_group_accuracy,
        metrics.worst_group_accuracy_low,
        metrics.worst_group_accuracy_high,
    )
    if worst is None or low is None or high is None or len(metrics.groups) < 2:
        return None
    gap = metrics.accuracy - worst
    return Sign(
        name="groups",
        kind="failure",
        found=gap >= GAP and high < metrics.low,
        n=metrics.n,
        sentence=f"Its worst group on the {split} split, {metrics.worst_group}, is right on "
        f"{_share(worst, low, high)}, all samples on {_share(metrics.accuracy, metrics.low, metrics.high)}.",
    )


def of_shift(validation: Metrics, test: Metrics) -> Sign:
    """Test beside validation: what held in the training data and does not hold there."""
    gap = validation.accuracy - test.accuracy
    return Sign(
        name="shift",
        kind="failure",
        found=gap >= GAP and test.high < validation.low,
        n=test.n,
        sentence=f"It is right on {_share(validation.accuracy, validation.low, validation.high)} of the "
        f"validation split and on {_share(test.accuracy, test.low, test.high)} of the test split.",
    )


def of_mask(cost: MaskingCost, *, split: str) -> Sign:
    """What the model's own mask changes beyond the same mask elsewhere."""
    beyond = cost.changes_beyond_elsewhere
    return Sign(
        name="mask",
        kind="cause",
        found=cost.masked_share <= SMALL_MASK and beyond.low >= MANY_CHANGES,
        n=cost.n,
        sentence=f"On the {split} split its own mask covers "
        f"{_share(cost.masked_share, cost.masked_low, cost.masked_high)} of the image and changes "
        f"{_points(beyond.estimate, beyond.low, beyond.high)} more of its answers than the same mask "
        "elsewhere.",
    )


def of_property(check: Mapping[str, Any]) -> Sign | None:
    """The import's finding (`models.shortcuts.ShortcutCheck` as JSON); None where nothing was judged."""
    if not check.get("findings"):
        return None
    return Sign(
        name="property",
        kind="cause",
        found=check["strength"] == "strong",
        n=check["n"],
        sentence=f"{check['sentence']} (p = {check['findings'][0]['p_value']:.3g})",
    )


def _share(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def _points(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} points ({100 * low:.1f} to {100 * high:.1f})".replace("-", "−")
