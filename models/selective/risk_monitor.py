"""Whether a promised risk still holds, by answers that come one by one: valid whenever it is looked at.

The evidence against "the risk is at most r" is the likelihood ratio of the answers under risks above r, mixed
over a beta distribution that is cut off at r, and under r. Whatever risk of at most r the next answer has,
the expected factor is at most 1, so that by Ville's inequality the evidence *ever* reaches 1/δ with
probability at most δ: one may look after every answer, and stop when one likes (Robbins 1970; Waudby-Smith
and Ramdas 2024 on betting). The evidence that the risk is below r is the same from the other side.

Good answers are credit that later wrong ones would have to use up. So the evidence against r is a weighted
mean over starts, every 25th answer, of the ratio of the answers since; a start not yet reached counts 1.
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
_EVERY = 25  # answers between two starts, and between two looks
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
    """Of the promise that at most the share `max_risk` of the answers is wrong.
    It is said to be broken though it holds, or to hold though it is broken, with a probability of at most
    `delta` each, over all looks."""

    max_risk: float
    delta: float

    def judge(self, errors: Sequence[bool], noticed_at: int | None = None) -> Judgement:
        """`errors` says of each answer, in the order in which they were drawn, whether it was wrong.
        Every 25th answer is looked at, the last, and the one at which an earlier call noticed it."""
        wrong = np.append(0, np.cumsum(np.asarray(errors, np.int64)))
        n, total = len(errors), int(wrong[-1])
        every = _EVERY * np.flatnonzero(self._evidence(wrong[::_EVERY]) >= 1 / self.delta) + _EVERY - 1
        others = {n - 1, n - 1 if noticed_at is None else noticed_at}
        further = [
            at for at in others if 0 <= at < n and self._evidence_at(wrong[: at + 2]) >= 1 / self.delta
        ]
        if against := [*every[:1].tolist(), *further]:
            return Judgement("broken", n, total, min(against))
        holds = n and self._log_ratio(np.array([n]), wrong[-1:], above=False)[0] >= -np.log(self.delta)
        return Judgement("holds" if holds else "not_enough", n, total, None)

    def answers_to_notice(self, history: int = 0, factor: float = 2.0) -> int | None:
        """How many answers show, in nine cases of ten, that after `history` answers the risk has risen to
        `factor` times `max_risk`; None: over 20,000. Exact for the next start, whose distance is added."""
        level = self.delta * float(_weights(-(-history // _EVERY) + 1)[-1])
        answers = _answers_to_notice(RiskMonitor(self.max_risk, level), min(factor * self.max_risk, 1.0))
        return None if answers is None else answers + _EVERY

    def notices(self, answers: int, errors: int) -> bool:
        """Whether so many errors since one start, with all of the weight, say that the promise is broken."""
        evidence = self._log_ratio(np.array([answers]), np.array([errors]), above=True)
        return bool(evidence[0] >= -np.log(self.delta))

    def _evidence(self, wrong: Counts) -> Floats:
        """The evidence against the promise at every 25th answer, (L,); `wrong`: errors so far, (L + 1,)."""
        weights, evidence = _weights(len(wrong) - 1), 0.5 / np.arange(1, len(wrong))
        for length in range(1, len(wrong)):
            errors = wrong[length:] - wrong[:-length]
            counts = np.arange(errors.min(), errors.max() + 1)  # few: each ratio is computed once
            ratios = self._ratio(np.full(len(counts), _EVERY * length), counts)
            evidence[length - 1 :] += weights[: len(errors)] * ratios[errors - counts[0]]
        return evidence

    def _evidence_at(self, wrong: Counts) -> float:
        """The same at the last answer; `wrong`: errors before the first answer and after each, (N + 1,)."""
        starts = np.arange(0, len(wrong) - 1, _EVERY)
        ratios = self._ratio(len(wrong) - 1 - starts, wrong[-1] - wrong[starts])
        return float(_weights(len(starts)) @ ratios + 0.5 / len(starts))

    def _ratio(self, n: Counts, errors: Counts) -> Floats:
        with np.errstate(over="ignore"):  # infinite is enough
            return np.asarray(np.exp(self._log_ratio(n, errors, above=True)), np.float64)

    def _log_ratio(self, n: Counts, errors: Counts, *, above: bool) -> Floats:
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


def _weights(count: int) -> Floats:
    """Of the first `count` starts, (C,): a half, and 1/2, 1/6, 1/12, … of the other half."""
    starts = np.arange(1, max(count, 1))
    return np.append(0.5, 0.5 / (starts * (starts + 1)))[:count]


@lru_cache(maxsize=64)  # each answer of a person asks for it
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
