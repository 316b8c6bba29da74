"""How often the rule in models.shortcuts.reliance reports a shortcut that is not there, and which it detects.

    python -m research.shortcut_reliance [--draws N]

Null settings: the model is equally accurate in all groups and on both splits, or its own mask changes
no more answers than the rule allows; the other kind of sign is there for an innocent reason, so that
one false sign is enough for strong evidence. In the honest settings that reason is real: the model looks at
the evidence for its answer, and its mask removes just that. Power settings: a group or the test split is
worse by 10 to 40 points, or the mask changes that many more answers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks._common import finish_simulation, simulation_parser
from models.shortcuts.masking_cost import MaskedPredictions, masking_cost
from models.evaluation.metrics import Metrics, Names, metrics
from models.shortcuts.reliance import MANY_CHANGES, Sign, of_groups, of_mask, of_shift, read
from models.types import Labels

INNOCENT = {
    "failure": Sign("property", "cause", True, 1, "a property that is the task itself"),
    "cause": Sign("groups", "failure", True, 1, "a group that is hard for everybody"),
}
Draw = Callable[[np.random.Generator], list[Sign | None]]


class Setting(NamedTuple):
    """A named way to draw the signs of one evaluation; `effect` is the true gap in accuracy, 0 for none."""

    name: str
    effect: float
    draw: Draw


def measured(rng: np.random.Generator, sizes: tuple[int, ...], accuracies: tuple[float, ...]) -> Metrics:
    """Metrics of one class with a group of each size and accuracy."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    right = rng.random(len(groups)) < np.repeat(accuracies, sizes)
    names = Names(("a",), tuple(f"group {i}" for i in range(len(sizes))))
    return metrics(np.zeros(len(groups), np.int64), np.where(right, 0, 1), groups=groups, names=names)


def grouped(sizes: tuple[int, ...], accuracy: float, effect: float = 0.0) -> Draw:
    """The last group is worse by `effect`."""
    accuracies = (*(accuracy,) * (len(sizes) - 1), accuracy - effect)
    return lambda rng: [of_groups(measured(rng, sizes, accuracies), split="test")]


def shifted(n_validation: int, n_test: int, accuracy: float, effect: float = 0.0) -> Draw:
    """The test split is worse by `effect`."""

    def draw(rng: np.random.Generator) -> list[Sign | None]:
        return [
            of_shift(
                measured(rng, (n_validation,), (accuracy,)), measured(rng, (n_test,), (accuracy - effect,))
            )
        ]

    return draw


def masked(n: int, elsewhere: float, beyond: float) -> Draw:
    """The model's own mask changes a share `beyond` more of the answers than the same mask elsewhere."""

    def draw(rng: np.random.Generator) -> list[Sign | None]:
        labels = np.zeros(n, np.int64)
        own, other = (np.where(rng.random(n) < share, 1, 0) for share in (elsewhere + beyond, elsewhere))
        answers = MaskedPredictions(np.arange(n), labels, np.full(n, 0.05), labels, own, other)
        return [of_mask(masking_cost(answers, generator=rng), split="test")]

    return draw


def together(*draws: Draw) -> Draw:
    """All signs of one report at once."""
    return lambda rng: [sign for draw in draws for sign in draw(rng)]


class Honest(NamedTuple):
    """`n` test images of two classes, answered equally well whatever they show."""

    n: int
    accuracy: float

    def answers(self, rng: np.random.Generator) -> tuple[Labels, Labels]:
        """Labels and predictions, (N,) each."""
        labels = np.arange(self.n) % 2
        return labels, np.where(rng.random(self.n) < self.accuracy, labels, 1 - labels)

    def signs(self, rng: np.random.Generator) -> list[Sign | None]:
        """Four groups, validation as large as test; the model's own mask flips half of the answers."""
        labels, predictions = self.answers(rng)
        groups, names = rng.integers(0, 4, self.n), Names(("a", "b"), ("1", "2", "3", "4"))
        test = metrics(labels, predictions, groups=groups, names=names)
        own = np.where(rng.random(self.n) < 0.5, predictions, 1 - predictions)
        under = MaskedPredictions(
            np.arange(self.n), labels, np.full(self.n, 0.05), predictions, own, predictions
        )
        mask = of_mask(masking_cost(under, generator=rng), split="test")
        return [of_groups(test, split="test"), of_shift(metrics(*self.answers(rng)), test), mask]


HONEST = tuple(Honest(n, accuracy) for n in (400, 2000) for accuracy in (0.7, 0.9, 0.97))


def null_settings() -> list[Setting]:
    settings = []
    for accuracy in (0.7, 0.9, 0.97):
        for sizes in ((500, 500), (2255, 2255, 642, 642), (200,) * 10, (30,) * 20):
            settings.append(
                Setting(f"{len(sizes)} groups of {min(sizes)}, {accuracy}", 0, grouped(sizes, accuracy))
            )
        settings.append(Setting(f"validation 300, test 1,000, {accuracy}", 0, shifted(300, 1000, accuracy)))
        everything = together(grouped((200,) * 4, accuracy), shifted(300, 800, accuracy))
        settings.append(Setting(f"groups and test, {accuracy}", 0, everything))
    for n in (50, 200, 1000):
        settings.append(Setting(f"mask on {n}, nothing beyond", 0, masked(n, 0.1, 0.0)))
        settings.append(Setting(f"mask on {n}, just the rule's share", 0, masked(n, 0.1, MANY_CHANGES)))
    for honest in HONEST:
        settings.append(Setting(f"honest, {honest.n} images, {honest.accuracy}", 0, honest.signs))
    return settings


def power_settings() -> list[Setting]:
    settings = []
    for effect in (0.1, 0.2, 0.4):
        settings.append(Setting("4 groups of 100", effect, grouped((100,) * 4, 0.95, effect)))
        settings.append(Setting("validation 300, test 1,000", effect, shifted(300, 1000, 0.95, effect)))
        settings.append(Setting("mask on 200", effect, masked(200, 0.05, MANY_CHANGES + effect)))
    # A property that is the task, and a group that is merely harder: no check tells these from a shortcut.
    settings.append(Setting("both signs innocent, 4 groups of 300", 0.16, grouped((300,) * 4, 0.94, 0.16)))
    return settings


def strong_share(setting: Setting, draws: int, rng: np.random.Generator) -> float:
    """The share of draws whose evidence is read as strong."""
    strong = 0
    for _ in range(draws):
        signs = [sign for sign in setting.draw(rng) if sign is not None]
        strong += read([*signs, INNOCENT[signs[0].kind]]).evidence == "strong"
    return strong / draws


def main() -> int:
    assert __doc__ is not None
    arguments = simulation_parser(__doc__.splitlines()[0]).parse_args()
    rng = np.random.default_rng(arguments.seed)
    start = time.perf_counter()
    print(f"{'setting':44} {'true gap':>8} {'strong':>7}")
    figures, worst = [], 0.0
    for setting in null_settings() + power_settings():
        share = strong_share(setting, arguments.draws, rng)
        print(f"{setting.name:44} {setting.effect:8.2f} {share:7.3f}", flush=True)
        figures.append({"setting": setting.name, "effect": setting.effect, "strong": share})
        if setting.effect == 0:
            worst = max(worst, share)
    return finish_simulation(
        "shortcut_reliance",
        worst=worst,
        draws=arguments.draws,
        figures=figures,
        seconds=time.perf_counter() - start,
    )


if __name__ == "__main__":
    sys.exit(main())
