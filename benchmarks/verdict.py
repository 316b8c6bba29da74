"""How often the verdict of models.statistics is wrong, and what it can see: simulated pairs of models.

    python -m benchmarks.verdict [--draws N]

Null settings: both models are equally accurate in every group, and err on partly different samples.
Power settings: MaskTune's worst group is better by 2 to 20 points. Each draw makes a test set's
paired counts and asks for the 95 % interval, with the rule's prior and, beside it, without.
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import _simulation
from models.statistics import PRIOR, Statistic, paired_difference

RESAMPLES = 1000


class Setting(NamedTuple):
    """Group sizes and accuracies (of the control), the share of discordant pairs, the worst group's gain."""

    name: str
    sizes: tuple[int, ...]
    accuracies: tuple[float, ...]
    discordant: float
    gain: float
    statistic: Statistic


SHAPES = {
    "waterbirds-like": ((2255, 2255, 642, 642), (0.99, 0.80, 0.70, 0.95)),
    "small groups": ((100, 100, 20, 20), (0.95, 0.80, 0.60, 0.90)),
    "two equal worst groups": ((500, 500, 500, 500), (0.95, 0.70, 0.70, 0.95)),
    "all groups alike": ((300, 300, 300, 300), (0.85, 0.85, 0.85, 0.85)),
    "tiny worst group": ((1000, 1000, 1000, 10), (0.98, 0.95, 0.95, 0.70)),
}
CLASSES = {
    "two classes": ((180, 180), (0.95, 0.97)),
    "ten classes": ((100,) * 10, (0.97, 0.95, 0.9, 0.99, 0.96, 0.93, 0.98, 0.94, 0.92, 0.97)),
}


def settings() -> list[Setting]:
    null = [
        Setting(name, sizes, accuracies, discordant, 0.0, "worst_group_accuracy")
        for (name, (sizes, accuracies)), discordant in itertools.product(
            SHAPES.items(), (0.005, 0.01, 0.02, 0.05, 0.15)
        )
    ]
    null += [
        Setting(name, sizes, accuracies, discordant, 0.0, "balanced_accuracy")
        for (name, (sizes, accuracies)), discordant in itertools.product(CLASSES.items(), (0.005, 0.01, 0.03))
    ]
    power = [
        Setting(name, *SHAPES[name], 0.05, gain, "worst_group_accuracy")
        for name, gain in itertools.product(("waterbirds-like", "small groups"), (0.02, 0.05, 0.1, 0.2))
    ]
    return null + power


def cells(setting: Setting) -> NDArray[np.float64]:
    """Probabilities (S, 4) of both right, MaskTune alone, control alone, none."""
    rows = []
    worst = int(np.argmin(setting.accuracies))
    for group, accuracy in enumerate(setting.accuracies):
        gain = setting.gain if group == worst else 0.0
        half = min(setting.discordant, 2 * accuracy, 2 * (1 - accuracy - gain)) / 2
        rows.append([accuracy - half, half + gain, half, 1 - accuracy - half - gain])
    return np.array(rows)


def simulate(setting: Setting, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Shares of draws called helped and hurt, with the rule's prior and with none."""
    probabilities = cells(setting)
    named = {"helped": 0, "hurt": 0, "helped_plain": 0, "hurt_plain": 0}
    strata = np.repeat(np.arange(len(setting.sizes)), setting.sizes)
    for _ in range(draws):
        table = rng.multinomial(setting.sizes, probabilities)
        kinds = np.concatenate([np.repeat(np.arange(4), row) for row in table])
        a, b = kinds < 2, kinds % 2 == 0
        for suffix, prior in (("", PRIOR), ("_plain", 0.0)):
            found = paired_difference(
                a,
                b,
                strata=strata,
                statistic=setting.statistic,
                generator=rng,
                resamples=RESAMPLES,
                prior=prior,
            )
            named[f"helped{suffix}"] += found.low > 0
            named[f"hurt{suffix}"] += found.high < 0
    return {key: count / draws for key, count in named.items()}


def main() -> int:
    assert __doc__ is not None
    arguments = _simulation.arguments(__doc__.splitlines()[0])
    rng = np.random.default_rng(arguments.seed)
    start = time.perf_counter()
    print(f"{'setting':26} {'statistic':22} {'discord.':>8} {'gain':>5} {'helped':>7} {'hurt':>7}   plain")
    figures, worst = [], 0.0
    for setting in settings():
        rates = simulate(setting, arguments.draws, rng)
        print(
            f"{setting.name:26} {setting.statistic:22} {setting.discordant:8.3f} {setting.gain:5.2f} "
            f"{rates['helped']:7.3f} {rates['hurt']:7.3f}   "
            f"{rates['helped_plain']:.3f} {rates['hurt_plain']:.3f}"
        )
        figures.append(setting._asdict() | rates)
        if setting.gain == 0:
            worst = max(worst, rates["helped"] + rates["hurt"])
    return _simulation.finish(
        "verdict",
        worst=worst,
        draws=arguments.draws,
        figures=figures,
        seconds=time.perf_counter() - start,
    )


if __name__ == "__main__":
    sys.exit(main())
