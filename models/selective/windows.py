"""When drift is found: windows of inputs are compared with the calibration split, one after the other.

A window ends once it has `WINDOW` independent inputs. Two windows that follow each other then make one of
twice the length, and so on: short windows find a sudden change soon, long ones a small or a slow change.

Each window is one look, in which all tests of `compare` together have the level `look_level`. Over all
looks the levels add up to `ALPHA`. Whatever the dependence between the looks (they share the calibration
split, and long windows contain short ones), the probability that drift is *ever* found although nothing
changed is therefore at most `ALPHA`, however long the model serves (Bonferroni over the looks, an
alpha-spending sequence). Where a window ends never depends on scores, so that each test stays exact.

The test is exact, on counts, without labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from models.selective.policies import threshold_for_coverage
from models.selective.table import CalibrationTable
from models.statistics import Share, fisher
from models.types import Bools, Floats

REFERENCES = (0.5, 0.8, 0.95)
"""Coverages whose thresholds are monitored, whatever the policy: each score is above or below them."""
DISAGREEMENT = "disagreement"
"""The test of how often the model and its ERM half disagree."""
_ROUNDING = 1e-12
"""Log-probabilities near 0 are not told apart once they were probabilities."""


class Reference(NamedTuple):
    """The threshold that answers `coverage` of the calibration split, and the share it answers there."""

    coverage: float
    threshold: float
    answered: Share


def references(table: CalibrationTable) -> tuple[Reference, ...]:
    """One reference per coverage of `REFERENCES`, in that order."""
    thresholds = []
    for coverage in REFERENCES:
        point = threshold_for_coverage(table, coverage).point
        assert point.threshold is not None
        thresholds.append(Reference(coverage, point.threshold, Share(point.answered, table.n)))
    return tuple(thresholds)


@dataclass(frozen=True)
class Comparison:
    """A share on the calibration split and in service. `p_adjusted`: Bonferroni over all comparisons."""

    name: str
    calibration: Share
    deployed: Share
    p_value: float
    p_adjusted: float
    decidable: bool
    """Whether some outcome with this many inputs could be significant; if not, the test says nothing."""

    def to_json(self, level: float) -> dict[str, Any]:
        """As the API's `DriftTest`; `level` is that of its look."""
        return {
            "name": self.name,
            "calibration": _share(self.calibration),
            "deployed": _share(self.deployed),
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "drifted": self.p_adjusted <= level,
        }


def _share(of: Share) -> dict[str, Any]:
    return {"k": of.k, "n": of.n, "share": of.k / of.n if of.n else None}


def compare(shares: Mapping[str, tuple[Share, Share]], *, alpha: float) -> list[Comparison]:
    """Test each (calibration, deployed) pair with `fisher`, two-sided, adjusted for the number of pairs."""
    comparisons = []
    for name, (calibration, deployed) in shares.items():
        p = fisher(calibration, deployed)
        extreme = min(fisher(calibration, Share(count, deployed.n)) for count in (0, deployed.n))
        comparisons.append(
            Comparison(
                name=name,
                calibration=calibration,
                deployed=deployed,
                p_value=p,
                p_adjusted=min(1.0, p * len(shares)),
                decidable=extreme * len(shares) <= alpha,
            )
        )
    return comparisons


WINDOW = 50
"""Independent inputs of the shortest window."""

ALPHA = 0.01
"""Probability of a false alarm, over all looks."""

Shares = Mapping[str, Share]
"""What is compared, by the name of its test: how many of how many inputs."""


def look_level(doublings: int, number: int, alpha: float) -> float:
    """The level of the `number`-th look (from 1) at windows that were doubled so often (from 0).

    1 / (i · (i + 1)) adds up to 1 over i = 1, 2, …: so do these levels to alpha, over both.
    """
    return alpha / ((doublings + 1) * (doublings + 2) * number * (number + 1))


@dataclass(frozen=True)
class Look:
    """A window, compared with the calibration split. `level`: of its tests together."""

    inputs: int
    level: float
    tests: list[Comparison]

    @property
    def drifted(self) -> bool:
        return any(test.p_adjusted <= self.level for test in self.tests)

    def to_json(self) -> dict[str, Any]:
        """As the API's `DriftLook`, but for its time."""
        return {
            "inputs": self.inputs,
            "level": self.level,
            "tests": [test.to_json(self.level) for test in self.tests],
        }


def look_once(table: CalibrationTable, disagreement: Share | None, scores: Floats, disagree: Bools) -> Look:
    """Compare inputs that came all at once with the calibration split: one look, at `ALPHA`.

    `scores` (N,) are exact to `_ROUNDING`, NaN where no threshold answers the input. `disagree` has an entry
    for each input that an ERM half answered too, `disagreement` is that of the split.
    """
    pairs = {}
    for reference in references(table):
        least, name = reference.threshold - _ROUNDING, f"surest_{100 * reference.coverage:g}"
        of_split, reached = table.at(least)[0], int((scores >= least).sum())
        pairs[name] = Share(of_split, table.n), Share(reached, len(scores))
    if disagreement is not None:
        pairs[DISAGREEMENT] = disagreement, Share(int(disagree.sum()), len(disagree))
    return Look(len(scores), ALPHA, compare(pairs, alpha=ALPHA))


@dataclass
class Windows:
    """The inputs since the last calibration or acknowledgement.

    `open` is the window that has too few inputs so far. By how often windows were doubled: `look_counts` is
    how many were compared, and `halves` are those that wait for the next one of their length.
    """

    look_counts: dict[int, int] = field(default_factory=dict)
    open: Shares = field(default_factory=dict)
    halves: dict[int, Shares] = field(default_factory=dict)

    def look(self, shares: Shares, calibration: Shares, *, alpha: float = ALPHA) -> list[Look]:
        """Add inputs, and compare the windows that they complete, shortest first.

        A window whose tests could not have found anything, whatever its inputs, is not compared and costs
        nothing. Nothing is compared after a look that found drift.
        """
        new_looks: list[Look] = []
        for doublings, window in enumerate(self._complete(shares)):
            number = self.look_counts.get(doublings, 0) + 1
            level = look_level(doublings, number, alpha)
            pairs = {name: (calibration[name], window.get(name, Share(0, 0))) for name in calibration}
            tests = compare(pairs, alpha=level)
            if any(test.decidable for test in tests):
                self.look_counts[doublings] = number
                new_looks.append(Look(inputs(window), level, tests))
                if new_looks[-1].drifted:
                    break
        return new_looks

    def _complete(self, shares: Shares) -> list[Shares]:
        self.open = _sum(self.open, shares)
        if inputs(self.open) < WINDOW:
            return []
        complete, self.open = [self.open], {}
        doublings = 0
        while doublings in self.halves:
            complete.append(_sum(self.halves.pop(doublings), complete[-1]))
            doublings += 1
        self.halves[doublings] = complete[-1]
        return complete

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it: JSON has texts for keys."""
        counts = {str(doublings): number for doublings, number in self.look_counts.items()}
        halves = {str(doublings): dict(shares) for doublings, shares in self.halves.items()}
        return {"looks": counts, "open": dict(self.open), "halves": halves}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Windows:
        counts = {int(doublings): number for doublings, number in raw["looks"].items()}
        halves = {int(doublings): _read(shares) for doublings, shares in raw["halves"].items()}
        return cls(counts, _read(raw["open"]), halves)


def inputs(shares: Shares) -> int:
    """How many inputs were counted; not each of them for every test."""
    return max((share.n for share in shares.values()), default=0)


def _sum(first: Shares, second: Shares) -> Shares:
    names: Iterable[str] = {**first, **second}
    none = Share(0, 0)
    return {
        name: Share(*(a + b for a, b in zip(first.get(name, none), second.get(name, none), strict=True)))
        for name in names
    }


def _read(raw: Mapping[str, Any]) -> Shares:
    return {name: Share(*share) for name, share in raw.items()}
