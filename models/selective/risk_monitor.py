"""Whether a promised risk still holds, by answers that come one by one: valid whenever it is looked at.

The evidence against "the risk is at most r" is the likelihood ratio of the answers under risks above r, mixed
over a beta distribution that is cut off at r, and under r. Whatever risk of at most r the next answer has,
the expected factor is at most 1, so that by Ville's inequality the evidence *ever* reaches 1/δ with
probability at most δ: one may look after every answer, and stop when one likes (Robbins 1970; Waudby-Smith
and Ramdas 2024 on betting). The evidence that the risk is below r is the same from the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from models.types import Counts, Floats

Status = Literal["holds", "not_enough", "broken"]
_POWER = 0.9
_MOST_ANSWERS = 20_000  # that `answers_to_notice` looks at


class Judgement(NamedTuple):
    """What `answers` of which `errors` were wrong say of the promise.

    `noticed_at` is the index of the answer at which it was first seen to be broken; later answers do not mend
    it. It `holds` if the answers so far show that the risk is below the promised one, provided that it did
    not change meanwhile.
    """

    status: Status
    answers: int
    errors: int
    noticed_at: int | None


@dataclass(frozen=True)
class RiskMonitor:
    """Of the promise that at most the share `max_risk` of the answers is wrong. It is said to be broken
    though it holds, or to hold though it is broken, with a probability of at most `delta` each, over all
    looks."""

    max_risk: float
    delta: float

    def judge(self, errors: Sequence[bool]) -> Judgement:
        """`errors` says of each answer, in the order in which they were drawn, whether it was wrong."""
        wrong = np.cumsum(np.asarray(errors, np.int64))
        n = np.arange(1, len(wrong) + 1)
        against = np.flatnonzero(self._log_evidence(n, wrong, above=True) >= self._enough)
        total = int(wrong[-1]) if len(wrong) else 0
        if len(against):
            return Judgement("broken", len(wrong), total, int(against[0]))
        holds = len(wrong) > 0 and self._log_evidence(n[-1:], wrong[-1:], above=False)[0] >= self._enough
        return Judgement("holds" if holds else "not_enough", len(wrong), total, None)

    def answers_to_notice(self, factor: float = 2.0) -> int | None:
        """How many answers show, in nine cases of ten, that the risk has risen to `factor` times `max_risk`;
        None if it takes more than 20,000. Exact, by the distribution of the errors."""
        return _answers_to_notice(self, min(factor * self.max_risk, 1.0))

    def notices(self, answers: int, errors: int) -> bool:
        """Whether so many errors say that the promise is broken."""
        evidence = self._log_evidence(np.array([answers]), np.array([errors]), above=True)
        return bool(evidence[0] >= self._enough)

    @property
    def _enough(self) -> float:
        return -float(np.log(self.delta))

    def _log_evidence(self, n: Counts, errors: Counts, *, above: bool) -> Floats:
        """The logarithm of the mixed likelihood ratio after `n` answers with so many `errors`, (N,)."""
        from scipy.special import betainc, betaincc, betaln

        risk, rest = self.max_risk, n - errors
        # Above: the mean is a doubled risk, so that this is noticed soon. Below: all risks alike.
        a, b = (2.0, (1 - 2 * risk) / risk if risk < 0.4 else 1.0) if above else (1.0, 1.0)
        cut = betaincc if above else betainc
        with np.errstate(divide="ignore"):  # a share of 0 is no evidence
            of_answers = betaln(a + errors, b + rest) + np.log(cut(a + errors, b + rest, risk))
        of_prior = betaln(a, b) + np.log(cut(a, b, risk))
        promised = errors * np.log(risk) + rest * np.log1p(-risk)
        return np.asarray(of_answers - of_prior - promised, np.float64)


@lru_cache(maxsize=64)  # a page and each answer of a model ask for it
def _answers_to_notice(monitor: RiskMonitor, risk: float) -> int | None:
    noticed, probabilities = 0.0, np.ones(1)  # of each number of errors, where nothing was noticed yet
    enough = 1  # errors that are noticed: never fewer after more answers
    for n in range(1, _MOST_ANSWERS + 1):
        while enough <= n and not monitor.notices(n, enough):
            enough += 1
        probabilities = np.append(probabilities, 0.0) * (1 - risk) + np.insert(probabilities, 0, 0.0) * risk
        noticed += float(probabilities[enough:].sum())
        probabilities = probabilities[:enough]
        if noticed >= _POWER:
            return n
    return None
