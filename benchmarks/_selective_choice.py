"""Certificates among which somebody chooses after looking: of the four models of a report, or of its risks.

Of the models, each is calibrated on a draw of its own, which is the worst case: models that are calibrated on
the same images err together. The model with the largest certified coverage is chosen for one risk, or any of
the certificates of all models and risks (`any`: false if one of them is). The level of a certificate is δ, or
δ divided by the models (and risks), as in a report.

The lowest risk that a split would have certified is read off that split, and certified on it; or it is read
off another split and so fixed beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from benchmarks._selective_populations import Floats, Population, flat, power
from models.selective import CalibrationTable, best_certifiable_risk
from models.selective.certify import certified_step

MODELS, RISKS, RISK = 4, (0.01, 0.02, 0.05, 0.1), 0.02
DELTA, DELTA_OF_LOWEST = 0.01, 0.1
RISK_SIZES = (300, 1000)
ABOVE = 1.02  # of a limit: the hardest to refuse
LIMIT = Population("at the limit", flat(ABOVE * RISK))
RISING = Population("rising", power(2, oracle=0.5, risk=RISK))


def _stairs(u: Floats) -> Floats:
    """The selective risk is just above one limit after the other: R(u), and the error is (u R(u))'."""
    ranks = np.array([0, 0.25, 0.28, 0.4, 0.45, 0.7, 0.8, 1])
    risks = ABOVE * np.repeat(RISKS, 2)
    slopes = np.diff(risks) / np.diff(ranks)
    part = np.clip(np.searchsorted(ranks, u, side="right") - 1, 0, len(slopes) - 1)
    return np.asarray(np.interp(u, ranks, risks) + u * slopes[part])


STAIRS = Population("at each limit", _stairs)
OF_RISKS = (
    Population("rising", lambda u: 0.15 * u**2),
    Population("flat 5%", flat(0.05)),
    Population("sure errors", lambda u: 0.04 + 0.1 * u**3 + 0.15 * (u < 0.05)),
)


def model_rows(draws: int, seed: int) -> Iterator[dict[str, object]]:
    """Per population, and what is chosen: the share of draws in which the chosen certificate is false, with
    each model's level, and with that of the table of all models."""
    rng = np.random.default_rng(seed)
    for population, n, chosen, is_false in (
        (LIMIT, 1000, "the best model", _best_is_false),
        (RISING, 1000, "the best model", _best_is_false),
        (STAIRS, 5000, "any model and risk", _any_is_false),
    ):
        tables = [[population.draw(n, rng) for _ in range(MODELS)] for _ in range(draws)]
        alone, together = (
            sum(is_false(population, models, level) for models in tables) / draws
            for level in (DELTA, DELTA / MODELS)
        )
        yield {
            "population": population.name,
            "n": n,
            "chosen": chosen,
            "broken, δ a model": alone,
            "broken, δ a table": together,
            "error": math.sqrt(together * (1 - together) / draws),
        }


def _coverage(table: CalibrationTable, risk: float, level: float) -> float:
    step = certified_step(table, risk, 1 - level)
    return 0.0 if step is None else float(-table.thresholds[step])


def _best_is_false(population: Population, models: list[CalibrationTable], level: float) -> bool:
    coverage = max(_coverage(table, RISK, level) for table in models)
    return coverage > 0 and population.true_risk(coverage) > RISK


def _any_is_false(population: Population, models: list[CalibrationTable], level: float) -> bool:
    level /= len(RISKS)
    return any(
        (coverage := _coverage(table, risk, level)) > 0 and population.true_risk(coverage) > risk
        for risk in RISKS
        for table in models
    )


def risk_rows(draws: int, seed: int) -> Iterator[dict[str, object]]:
    """Per population and size: how often the lowest risk is exceeded, and how often if fixed beforehand."""
    rng, level = np.random.default_rng(seed), DELTA_OF_LOWEST
    for population in OF_RISKS:
        for n in RISK_SIZES:
            looked = beforehand = 0
            for _ in range(draws):
                table, other = population.draw(n, rng), population.draw(n, rng)
                lowest = best_certifiable_risk(table, 1 - level)
                if lowest is None:
                    continue
                for_table, for_other = (_coverage(one, lowest, level) for one in (table, other))
                looked += population.true_risk(for_table) > lowest
                beforehand += for_other > 0 and population.true_risk(for_other) > lowest
            share = beforehand / draws
            yield {
                "population": population.name,
                "n": n,
                "lowest risk broken": looked / draws,
                "fixed beforehand": share,
                "error": math.sqrt(share * (1 - share) / draws),
            }


def targets(models: list[dict[str, object]], risks: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    """What is chosen among what holds together, and a risk fixed beforehand, break δ but by chance."""
    aims: dict[str, dict[str, object]] = {}
    for row in models:
        name = f"choice/{row['population']}/{row['chosen']}"
        aims[name] = _aim(row["broken, δ a table"], row["error"], DELTA)
    for row in risks:
        name = f"choice/{row['population']}/{row['n']}/risk fixed beforehand"
        aims[name] = _aim(row["fixed beforehand"], row["error"], DELTA_OF_LOWEST)
    return aims


def _aim(share: object, error: object, delta: float) -> dict[str, object]:
    return {"value": share, "at_most": delta, "ok": float(str(share)) - 3 * float(str(error)) <= delta}
