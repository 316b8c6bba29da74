"""Images are brought again and again until two equally good models differ: how often they do at last.

`brought` says which: as many again beside those of before, others each time, or as many as the last look
asked for. `rate` is how often any of `LOOKS` looks decides; `at_95`, if each look had a 95 % interval.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks._common import TARGET, Aim, table
from models.evaluation.paired import Difference, Statistic, paired_difference
from models.evaluation.verdict import CONFIDENCE, growth_to_decide, look_confidence

DRAWS = 1000
RESAMPLES = 1000
LOOKS = 5
MOST = 5_000
"""Images of a stratum: a look that would ask for more ends the search."""
SHARES = 0.6, 0.15, 0.15, 0.1
"""Of images on which both models are right, only one, only the other, neither."""

Brought = Literal["as many again", "others", "as many as asked for"]


class Setting(NamedTuple):
    """The strata's sizes at the first look, and what decides."""

    name: str
    sizes: tuple[int, ...]
    statistic: Statistic
    brought: Brought


SETTINGS = (
    Setting("two classes of 100", (100, 100), "balanced_accuracy", "as many again"),
    Setting("two classes of 100", (100, 100), "balanced_accuracy", "others"),
    Setting("two classes of 100", (100, 100), "balanced_accuracy", "as many as asked for"),
    Setting("a class of 400", (400,), "balanced_accuracy", "as many as asked for"),
    Setting("two groups of 50", (50, 50), "worst_group_accuracy", "as many again"),
)


def measure(draws: int, seed: int) -> list[dict[str, Any]]:
    """A row for each setting, printed."""
    rng = np.random.default_rng(seed)
    rows = [_row(setting, draws, rng) for setting in SETTINGS]
    print(table(rows))
    return rows


def targets(rows: Sequence[dict[str, Any]], draws: int) -> dict[str, dict[str, Any]]:
    """All looks together decide in at most 5 %, within three standard errors."""
    allowed = TARGET + 3 * (TARGET * (1 - TARGET) / draws) ** 0.5
    return {
        f"{LOOKS} looks, {row['setting']}, {row['brought']}": Aim(row["rate"], at_most=allowed).to_json()
        for row in rows
    }


def _row(setting: Setting, draws: int, rng: np.random.Generator) -> dict[str, Any]:
    levels = [look_confidence(look + 1) for look in range(LOOKS + 1)]
    rate, at_95 = (
        float(np.mean([_is_decided(setting, of_looks, rng) for _ in range(draws)]))
        for of_looks in (levels, [CONFIDENCE] * (LOOKS + 1))
    )
    return {
        "setting": setting.name,
        "statistic": setting.statistic,
        "brought": setting.brought,
        "rate": rate,
        "at_95": at_95,
    }


def _is_decided(setting: Setting, levels: Sequence[float], rng: np.random.Generator) -> bool:
    """Whether any of the looks, at these confidences, tells the equal models apart."""
    cells = np.empty((0, len(setting.sizes)), int)
    more = setting.sizes[0]
    for confidence, next_confidence in itertools.pairwise(levels):
        brought = rng.choice(len(SHARES), (more, len(setting.sizes)), p=SHARES)
        cells = brought if setting.brought == "others" else np.concatenate([cells, brought])
        difference = _difference(cells, setting.statistic, confidence, rng)
        if not difference.low <= 0 <= difference.high:
            return True
        if setting.brought == "as many as asked for":
            growth = growth_to_decide(
                difference.estimate,
                difference.low,
                difference.high,
                confidence=confidence,
                next_confidence=next_confidence,
            )
            if growth * len(cells) > MOST:
                return False
            more = max(1, math.ceil(len(cells) * (growth - 1)))
    return False


def _difference(
    cells: np.ndarray, statistic: Statistic, confidence: float, rng: np.random.Generator
) -> Difference:
    strata = np.broadcast_to(np.arange(cells.shape[1]), cells.shape).ravel()
    return paired_difference(
        np.isin(cells.ravel(), (0, 1)),
        np.isin(cells.ravel(), (0, 2)),
        strata=strata,
        statistic=statistic,
        confidence=confidence,
        generator=rng,
        resamples=RESAMPLES,
    )
