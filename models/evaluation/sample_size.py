"""How many more samples would decide between two models, if they differ as much as they were measured to."""

from __future__ import annotations

import math
from statistics import NormalDist

POWER = 0.8
"""The chance that the larger sample decides."""


def growth_to_decide(
    estimate: float, low: float, high: float, *, confidence: float = 0.95, power: float = POWER
) -> float:
    """How many times as large a sample must be so that the interval of a difference leaves out zero.

    `estimate`, with the ends of its interval, is a difference of shares on the present samples. The width of
    an interval falls with the root of the number of samples, so that n samples, of standard error
    s = (estimate − low) / z for a difference above zero, must become n ((z + z_power) s / estimate)²: the
    sample size for paired proportions (Connor, Biometrics 1987) with the variance that was measured. At least
    1; infinite for a difference of zero.
    """
    if estimate == 0:
        return math.inf
    normal = NormalDist()
    z = normal.inv_cdf((1 + confidence) / 2)
    reach = estimate - low if estimate > 0 else high - estimate
    return max(1.0, ((z + normal.inv_cdf(power)) / z * reach / abs(estimate)) ** 2)
