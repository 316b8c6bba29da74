"""How often the check for shortcuts alarms over many draws of noise."""

from __future__ import annotations

import numpy as np

from models.shortcuts.check import check_properties
from tests.unit.models.shortcuts.test_check import table_of


def test_noise_alarms_no_more_often_than_it_should() -> None:
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        table = table_of(**{f"n{i}": rng.normal(size=120) for i in range(8)}, constant=np.zeros(120))
        alarms += (
            check_properties(table, np.arange(120) % 3, "abc", rng=rng, permutations=39).strength != "none"
        )
    assert alarms <= 9  # P(Binomial(60, 0.05) > 9) < 0.002
