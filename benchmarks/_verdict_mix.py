"""Accuracies for another mix of images with and without a pattern that has no effect at all.

One class is harder than the other, and lacks its pattern more often, or less. `pooled` is the accuracy if the
images of both classes are counted together: then another share of images without the pattern is another share
of the harder class too. The rest `alike` has each class as often as the images that lack the pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks._common import Aim
from models.statistics import mean_share
from models.types import Bools, Labels
from worker.report.inferred import mix_points, rest_alike

DRAWS = 1000
SHARES = (0.05, 0.5, 0.95)
LEAST_COVERAGE = 0.93


class Setting(NamedTuple):
    """The accuracies of two classes, how many images each has, and how many of these lack its pattern."""

    name: str
    accuracies: tuple[float, float]
    sizes: tuple[int, int]
    lacking: tuple[int, int]

    @property
    def truth(self) -> float:
        return float(np.average(self.accuracies, weights=self.sizes))

    def draw(self, rng: np.random.Generator) -> tuple[Bools, Labels, Bools]:
        """Right answers, classes, and whether the pattern is lacking, (N,) each."""
        labels = np.repeat([0, 1], self.sizes)
        lacks = np.concatenate([np.arange(n) < k for n, k in zip(self.sizes, self.lacking, strict=True)])
        return rng.random(len(labels)) < np.array(self.accuracies)[labels], labels, lacks


SETTINGS = (
    Setting("the easy class lacks it", (0.95, 0.6), (500, 500), (90, 10)),
    Setting("the hard class lacks it", (0.95, 0.6), (500, 500), (10, 90)),
    Setting("a rare, hard class", (0.9, 0.7), (800, 200), (40, 40)),
    Setting("two classes alike", (0.8, 0.8), (250, 250), (25, 25)),
)


def measure(draws: int, seed: int) -> list[dict[str, Any]]:
    """A row for each setting and share, printed: means over the draws, and how often the interval holds the
    truth."""
    rng = np.random.default_rng(seed)
    print(f"{'another mix':24} {'share':>5} {'truth':>6} {'pooled':>6} {'now':>6} {'holds it':>14}   lacking")
    figures = []
    for setting in SETTINGS:
        by_draw = np.array([_one(*setting.draw(rng), setting.truth) for _ in range(draws)])
        for share, means in zip(SHARES, by_draw.mean(0), strict=True):
            pooled, now, pooled_holds, holds, lacking, rest, alike = means.tolist()
            print(
                f"{setting.name:24} {share:5.2f} {setting.truth:6.3f} {pooled:6.3f} {now:6.3f} "
                f"{pooled_holds:6.3f} {holds:7.3f}   {lacking:.3f} {rest:.3f}, alike {alike:.3f}",
                flush=True,
            )
            estimates = {"truth": setting.truth, "pooled": pooled, "now": now, "rest": rest, "alike": alike}
            held = {"pooled_holds": pooled_holds, "holds": holds, "lacking": lacking}
            figures.append({"name": setting.name, "share": share} | estimates | held)
    return figures


def _one(right: Bools, labels: Labels, lacks: Bools, truth: float) -> list[list[float]]:
    """For each of `SHARES`: the two estimates, whether their intervals hold the truth, and the accuracy on
    the images that lack the pattern, on the rest, and on the rest alike."""
    parts = [(int(right[part].sum()), int(part.sum())) for part in (lacks, ~lacks)]
    points = {point.share: point for point in mix_points(right, labels, lacks, None)}
    of_parts = [k / n for k, n in parts] + [rest_alike(right, labels, lacks) or 0.0]
    rows = []
    for share in SHARES:
        point, weights = points[share], [share, 1 - share]
        low, high = mean_share(parts, weights)
        pooled = sum(weight * k / n for weight, (k, n) in zip(weights, parts, strict=True))
        held = [low <= truth <= high, point.low <= truth <= point.high]
        rows.append([pooled, point.accuracy, *map(float, held), *of_parts])
    return rows


def targets(figures: Sequence[dict[str, Any]], draws: int) -> dict[str, dict[str, Any]]:
    """The mean is the truth, and the interval holds it in at least 93 % of draws, both but for three
    standard errors of the simulation."""
    off = max(abs(figure["now"] - figure["truth"]) for figure in figures)
    holds = min(figure["holds"] for figure in figures)
    aims = {
        "mix, mean off by": Aim(off, at_most=3 * 0.1 / draws**0.5),
        "mix, interval holds the truth": Aim(
            holds, at_least=LEAST_COVERAGE - 3 * (LEAST_COVERAGE * (1 - LEAST_COVERAGE) / draws) ** 0.5
        ),
        "rest alike, off by": Aim(
            max(abs(figure["alike"] - figure["lacking"]) for figure in figures), at_most=3 * 0.1 / draws**0.5
        ),
    }
    return {name: aim.to_json() for name, aim in aims.items()}
