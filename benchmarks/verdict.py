"""How often models.evaluation.verdict is wrong, and what it detects: simulated pairs of models.

    python -m benchmarks.verdict [--draws N] [--quick] [--only PART]

PART is images, subjects, guessed, mix, claims, looks or columns.

Null settings: both models have the same worst group (or the same mean over the classes) and err on partly
different samples; in some they are equal in every group, in others one is bad in one group and the other in
many, in others MaskTune's is truly worse, and only *helped* is wrong. Power settings: MaskTune's worst group
is better by 2 to 20 points. Settings of several seeds: both were trained with 2, 3 or 5 seeds, whose
accuracies differ, and err on partly the same images. Each draw generates a test set's paired counts and the
verdict by them; an interval below 0 counts as *hurt* also without groups, where its verdict is not testable.
A plain bootstrap of the same statistic, or of the seeds, is shown beside it. Guessing settings: a model whose
answers ignore the images is taken for one that has learned something if its accuracy on validation is above
chance. Settings of subjects: images come in subjects, on whose images models err alike
(benchmarks._verdict_subjects). Guessed groups: the judge of patterns errs, alone or with the control
(benchmarks._verdict_guessed). Another mix: accuracies if more images lacked a pattern that has no effect
(benchmarks._verdict_mix). What is said around a verdict: benchmarks._verdict_claims. Images brought again and
again: benchmarks._verdict_looks. Other patterns, by columns of metadata: benchmarks._verdict_columns.
"""

from __future__ import annotations

import itertools
import sys
import time
from statistics import NormalDist
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks import _verdict_claims as claims
from benchmarks import _verdict_columns as columns
from benchmarks import _verdict_guessed as guessed
from benchmarks import _verdict_looks as looks
from benchmarks import _verdict_mix as mix
from benchmarks import _verdict_subjects as subjects
from benchmarks._common import finish_simulation, simulation_parser
from models.evaluation.metrics import metrics
from models.evaluation.paired import Statistic, mean_over_seeds, paired_difference
from models.evaluation.verdict import VerdictName, decide, standing

PARTS = {"subjects": subjects, "guessed": guessed, "mix": mix}
PARTS |= {"claims": claims, "looks": looks, "columns": columns}
RESAMPLES = 1000


class Setting(NamedTuple):
    """Group sizes, the accuracies of MaskTune and of the control, and the share of discordant pairs in each
    group (more if their accuracies differ by more)."""

    name: str
    sizes: tuple[int, ...]
    masktune: tuple[float, ...]
    control: tuple[float, ...]
    discordant: float
    statistic: Statistic

    @property
    def effect(self) -> float:
        """The true difference."""
        if self.statistic == "worst_group_accuracy":
            return min(self.masktune) - min(self.control)
        return float(np.mean(self.masktune) - np.mean(self.control))


SHAPES = {
    "waterbirds-like": ((2255, 2255, 642, 642), (0.99, 0.80, 0.70, 0.95)),
    "small groups": ((100, 100, 20, 20), (0.95, 0.80, 0.60, 0.90)),
    "two equal worst groups": ((500, 500, 500, 500), (0.95, 0.70, 0.70, 0.95)),
    "all groups alike": ((300, 300, 300, 300), (0.85, 0.85, 0.85, 0.85)),
    "tiny worst group": ((1000, 1000, 1000, 10), (0.98, 0.95, 0.95, 0.70)),
}
UNLIKE = {
    "one bad of 4, all": ((300,) * 4, (0.7, 0.95, 0.95, 0.95), (0.7,) * 4),
    "all bad of 4, one": ((300,) * 4, (0.7,) * 4, (0.7, 0.95, 0.95, 0.95)),
    "one bad of 10, all": ((50,) * 10, (0.7, *(0.95,) * 9), (0.7,) * 10),
    "one bad of 20, all": ((200,) * 20, (0.7, *(0.95,) * 19), (0.7,) * 20),
    "all bad of 20, one": ((50,) * 20, (0.7,) * 20, (0.7, *(0.95,) * 19)),
    "another one": ((300,) * 4, (0.95, 0.7, 0.9, 0.95), (0.7, 0.95, 0.95, 0.9)),
    "two evened out": ((2255, 2255, 642, 642), (0.97, 0.93, 0.70, 0.70), (0.99, 0.95, 0.70, 0.88)),
    "near the worst": ((100,) * 10, (0.7, *(0.95,) * 9), tuple(0.7 + i / 90 for i in range(10))),
    "worse by 5, of 20": ((50,) * 20, (0.65, *(0.95,) * 19), (0.7,) * 20),
    "worse by 2, of 10": ((50,) * 10, (0.68, *(0.95,) * 9), (0.7,) * 10),
}
"""Sizes, MaskTune's accuracies and the control's; MaskTune does not help in any of them."""
CLASSES = {
    "two classes": ((180, 180), (0.95, 0.97)),
    "ten classes": ((100,) * 10, (0.97, 0.95, 0.9, 0.99, 0.96, 0.93, 0.98, 0.94, 0.92, 0.97)),
    "hundred classes of 10": ((10,) * 100, (0.9,) * 100),
    "two hundred classes of 5": ((5,) * 200, (0.9,) * 200),
    "five hundred classes of 2": ((2,) * 500, (0.9,) * 500),
}


SEEDS = (2, 3, 5)
SEED_SPREADS = (0.0, 0.1, 0.3)
"""Standard deviation of a group's accuracy between seeds, in probits: 0.3 is 10 points at 0.7, 3 at 0.95."""
SHARED_ERRORS = 0.7
"""Correlation of two models' errors on one image, in probits."""


_Case = tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]


class SeededSetting(NamedTuple):
    """Group sizes, MaskTune's and the control's accuracies as means over all seeds, the number of seeds, and
    how far they differ. The true difference is `effect`."""

    name: str
    sizes: tuple[int, ...]
    masktune: tuple[float, ...]
    control: tuple[float, ...]
    seeds: int
    spread: float
    effect: float


GUESSING: dict[str, tuple[tuple[int, ...], tuple[float, ...]]] = {
    "two classes of 10": ((10, 10), (0.5, 0.5)),
    "two classes of 100": ((100, 100), (0.5, 0.5)),
    "95 to 5, always the first": ((190, 10), (1.0, 0.0)),
    "95 to 5, by their shares": ((190, 10), (0.95, 0.05)),
    "ten classes of 2": ((2,) * 10, (0.1,) * 10),
    "ten classes of 50": ((50,) * 10, (0.1,) * 10),
    "hundred classes of 10": ((10,) * 100, (0.01,) * 100),
}
"""Sizes of the classes in validation, and how often a model that ignores the images answers each."""


def settings() -> list[Setting]:
    settings = [
        Setting(name, sizes, accuracies, accuracies, discordant, "worst_group_accuracy")
        for (name, (sizes, accuracies)), discordant in itertools.product(
            SHAPES.items(), (0.005, 0.01, 0.02, 0.05, 0.15)
        )
    ]
    settings += [
        Setting(name, *each, discordant, "worst_group_accuracy")
        for (name, each), discordant in itertools.product(UNLIKE.items(), (0.02, 0.15))
    ]
    settings += [
        Setting(name, sizes, accuracies, accuracies, discordant, "balanced_accuracy")
        for (name, (sizes, accuracies)), discordant in itertools.product(CLASSES.items(), (0.005, 0.01, 0.03))
    ]
    for name, gain in itertools.product(("waterbirds-like", "small groups"), (0.02, 0.05, 0.1, 0.2)):
        sizes, control = SHAPES[name]
        worst = control.index(min(control))
        masktune: tuple[float, ...] = (*control[:worst], control[worst] + gain, *control[worst + 1 :])
        settings.append(Setting(name, sizes, masktune, control, 0.05, "worst_group_accuracy"))
    for name, gain in itertools.product(("ten classes", "two hundred classes of 5"), (0.01, 0.03)):
        each_size, before = CLASSES[name]
        after = tuple(min(1.0, accuracy + gain) for accuracy in before)
        settings.append(Setting(name, each_size, after, before, 0.03, "balanced_accuracy"))
    return settings


def seeded_settings() -> list[SeededSetting]:
    """Only without a spread may the accuracies of MaskTune and of the control be unlike: the lowest group of
    several alike ones is lower in each training than on average, so that the better one truly helps."""
    shapes = ("waterbirds-like", "two equal worst groups", "small groups")
    null: dict[str, _Case] = {name: (SHAPES[name][0], SHAPES[name][1], SHAPES[name][1]) for name in shapes}
    null["another one"] = UNLIKE["another one"]
    unlike: dict[str, _Case] = {name: UNLIKE[name] for name in ("one bad of 4, all", "all bad of 4, one")}
    settings = [
        SeededSetting(name, each, masktune, control, seeds, spread, 0.0)
        for spread, cases in zip(SEED_SPREADS, (null | unlike, null, null), strict=True)
        for (name, (each, masktune, control)), seeds in itertools.product(cases.items(), SEEDS)
    ]
    sizes, before = SHAPES["waterbirds-like"]
    after = (0.99, 0.80, 0.80, 0.95)
    return settings + [
        SeededSetting("waterbirds-like", sizes, after, before, seeds, spread, 0.1)
        for spread, seeds in itertools.product((0.0, 0.05, 0.1), SEEDS)
    ]


def cells(setting: Setting) -> NDArray[np.float64]:
    """Probabilities (S, 4) that both are right, only MaskTune, only the control, neither."""
    a, b = np.array(setting.masktune), np.array(setting.control)
    low, high = np.minimum(a, b), np.maximum(a, b)
    # Discordant pairs beyond those that the difference requires; "both" and "neither" cannot be negative.
    more = np.clip(setting.discordant - (high - low), 0, 2 * np.minimum(low, 1 - high)) / 2
    rows = np.stack([low - more, a - low + more, b - low + more, 1 - high - more], 1)
    return np.asarray(np.clip(rows, 0, 1))


def plain_interval(
    table: NDArray[np.int64], statistic: Statistic, rng: np.random.Generator
) -> tuple[float, float]:
    """Percentiles of the statistic over resampled counts; the worst group is chosen anew in each resample."""
    shares = table / table.sum(1, keepdims=True)
    drawn = rng.multinomial(table.sum(1), shares, size=(RESAMPLES, len(table)))
    a, b = (drawn[..., 0] + drawn[..., column] for column in (1, 2))
    total = table.sum(1)
    if statistic == "worst_group_accuracy":
        differences = (a / total).min(1) - (b / total).min(1)
    else:
        differences = ((a - b) / total).mean(1)
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)


def simulate(setting: Setting, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Shares of draws with each verdict, and of those called helped and hurt by a plain bootstrap."""
    probabilities = cells(setting)
    counts: dict[str, int] = dict.fromkeys((*get_args(VerdictName), "helped_plain", "hurt_plain"), 0)
    strata = np.repeat(np.arange(len(setting.sizes)), setting.sizes)
    for _ in range(draws):
        table = rng.multinomial(setting.sizes, probabilities)
        kinds = np.concatenate([np.repeat(np.arange(4), row) for row in table])
        difference = paired_difference(
            kinds < 2,
            kinds % 2 == 0,
            strata=strata,
            statistic=setting.statistic,
            generator=rng,
            resamples=RESAMPLES,
        )
        name = decide([standing(difference)], by_groups=setting.statistic == "worst_group_accuracy")
        counts["hurt" if difference.high < 0 else name] += 1
        low, high = plain_interval(table, setting.statistic, rng)
        counts["helped_plain"] += low > 0
        counts["hurt_plain"] += high < 0
    return {name: count / draws for name, count in counts.items()}


def simulate_seeds(setting: SeededSetting, draws: int, rng: np.random.Generator) -> dict[str, float]:
    """Shares of draws with each verdict, and of those called helped and hurt by resampling the seeds."""
    strata = np.repeat(np.arange(len(setting.sizes)), setting.sizes)
    counts: dict[str, int] = dict.fromkeys((*get_args(VerdictName), "helped_plain", "hurt_plain"), 0)
    for _ in range(draws):
        image = rng.standard_normal(len(strata))  # (N,) how hard it is
        a, b = (
            _outcomes(accuracies, setting, image, strata, rng)
            for accuracies in (setting.masktune, setting.control)
        )
        differences = [
            paired_difference(
                *pair,
                strata=strata,
                statistic="worst_group_accuracy",
                generator=rng,
                resamples=RESAMPLES,
            )
            for pair in zip(a, b, strict=True)
        ]
        counts[decide([standing(mean_over_seeds(differences))], by_groups=True)] += 1
        low, high = _resampled(np.array([one.estimate for one in differences]), rng)
        counts["helped_plain"] += low > 0
        counts["hurt_plain"] += high < 0
    return {name: count / draws for name, count in counts.items()}


def _outcomes(
    accuracies: tuple[float, ...],
    setting: SeededSetting,
    image: NDArray[np.float64],
    strata: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Outcomes (seeds, N) of models whose mean accuracies over all seeds are these."""
    seeds, groups = setting.seeds, len(accuracies)
    levels = np.array([NormalDist().inv_cdf(accuracy) for accuracy in accuracies])
    levels = levels * (1 + setting.spread**2) ** 0.5 + setting.spread * rng.standard_normal((seeds, groups))
    own = rng.standard_normal((seeds, len(strata)))
    errors = SHARED_ERRORS**0.5 * image + (1 - SHARED_ERRORS) ** 0.5 * own
    return np.asarray(errors < levels[:, strata])


def _resampled(estimates: NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """Percentiles of the mean of the seeds' differences, the seeds drawn with replacement."""
    drawn = rng.integers(len(estimates), size=(RESAMPLES, len(estimates)))
    low, high = np.quantile(estimates[drawn].mean(1), [0.025, 0.975])
    return float(low), float(high)


def simulate_guesses(
    sizes: tuple[int, ...], shares: tuple[float, ...], draws: int, rng: np.random.Generator
) -> float:
    """Share of draws in which a model that guesses is above chance."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    predicted = rng.choice(len(sizes), size=(draws, len(labels)), p=shares)
    return float(np.mean([metrics(labels, of_draw).above_chance for of_draw in predicted]))


def wrong(setting: Setting | SeededSetting, rates: dict[str, float], suffix: str = "") -> float:
    """The share of wrong verdicts; 0 if MaskTune is truly better, since that is not a null setting."""
    if setting.effect > 1e-9:
        return 0.0
    helped, hurt = rates[f"helped{suffix}"], rates[f"hurt{suffix}"]
    return helped if setting.effect < -1e-9 else helped + hurt


def on_images(draws: int, seed: int) -> tuple[list[dict[str, Any]], float]:
    """The figures of independent images, printed, and the largest null error rate."""
    rng = np.random.default_rng(seed)
    print(
        f"{'setting':26} {'statistic':22} {'discord.':>8} {'effect':>7} {'helped':>7} {'hurt':>7} "
        f"{'no eff.':>7} {'untest.':>7}   plain"
    )
    figures: list[dict[str, Any]] = []
    worst = worst_plain = worst_helped = worst_hurt = 0.0
    worst_of_seeds = dict.fromkeys(SEEDS, 0.0)
    for setting in settings():
        rates = simulate(setting, draws, rng)
        print(
            f"{setting.name:26} {setting.statistic:22} {setting.discordant:8.3f} {setting.effect:7.3f} "
            f"{rates['helped']:7.3f} {rates['hurt']:7.3f} {rates['no_detectable_effect']:7.3f} "
            f"{rates['not_testable']:7.3f}   "
            f"{rates['helped_plain']:.3f} {rates['hurt_plain']:.3f}",
            flush=True,
        )
        figures.append(setting._asdict() | {"effect": setting.effect} | rates)
        worst = max(worst, wrong(setting, rates))
        worst_plain = max(worst_plain, wrong(setting, rates, "_plain"))
        if setting.effect < 1e-9:
            worst_helped = max(worst_helped, rates["helped"])
        if setting.effect > -1e-9:
            worst_hurt = max(worst_hurt, rates["hurt"])
    for seeded in seeded_settings():
        rates = simulate_seeds(seeded, draws, rng)
        print(
            f"{seeded.name:26} {seeded.seeds} seeds, spread {seeded.spread:3.1f}       {seeded.effect:7.3f} "
            f"{rates['helped']:7.3f} {rates['hurt']:7.3f} {rates['no_detectable_effect']:7.3f}           "
            f"{rates['helped_plain']:.3f} {rates['hurt_plain']:.3f}",
            flush=True,
        )
        figures.append(seeded._asdict() | {"effect": seeded.effect} | rates)
        worst_of_seeds[seeded.seeds] = max(worst_of_seeds[seeded.seeds], wrong(seeded, rates))
    guesses = {name: simulate_guesses(*guessing, draws, rng) for name, guessing in GUESSING.items()}
    figures += [{"name": name, "above_chance": rate} for name, rate in guesses.items()]
    for name, rate in guesses.items():
        print(f"{name:26} guesses, above chance: {rate:.3f}")
    print(f"most often wrong: {worst:.3f}, the plain bootstrap {worst_plain:.3f}")
    print(f"helped without a gain: at most {worst_helped:.3f}; hurt without a loss: at most {worst_hurt:.3f}")
    for seeds, rate in worst_of_seeds.items():
        print(f"over {seeds} seeds, most often wrong: {rate:.3f}")
    return figures, max(worst, *worst_of_seeds.values(), *guesses.values())


def main() -> int:
    assert __doc__ is not None
    parser = simulation_parser(__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("images", *PARTS), help="one part; all without it")
    parser.add_argument("--quick", action="store_true", help="few draws: a smoke test, not a proof")
    arguments = parser.parse_args()
    draws = 10 if arguments.quick else arguments.draws
    start = time.perf_counter()
    figures: list[dict[str, Any]] = []
    worst = 0.0
    further: dict[str, dict[str, Any]] = {}
    if arguments.only in (None, "images"):
        figures, worst = on_images(draws, arguments.seed)
    for name, part in PARTS.items():
        if arguments.only in (None, name):
            of_part = part.measure(min(draws, part.DRAWS), arguments.seed)
            figures += of_part
            further |= part.targets(of_part, min(draws, part.DRAWS))
    return finish_simulation(
        "verdict",
        worst=worst,
        draws=draws,
        figures=figures,
        targets=None if arguments.quick else further,
        seconds=time.perf_counter() - start,
    )


if __name__ == "__main__":
    sys.exit(main())
