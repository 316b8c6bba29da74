"""What the default must reach beside its control and beside true groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._common import Aim
from research.rivals.methods import CEILING, CONTROL, DEFAULT
from research.rivals.sets import BIASED_MNIST, BUILTIN, COLOURED_DIGITS, NO_SHORTCUT, OWN_SHARE, PLANTS

_LEAST_AVERAGE = {0.99: 0.53, 0.95: 0.60}  # of ten digits on ten colours
_MAY_LOSE, _MAY_LOSE_SWAPPED = 0.01, 0.02  # against the control
_MAY_MISS, _MAY_MISS_CUT = 0.02, 0.03  # against true groups
_MAY_OPEN = 0.05  # share of the sets without a shortcut

Row = dict[str, Any]


def aims(rows: Sequence[Row]) -> dict[str, Aim]:
    """The targets for what was measured, each on a mean over seeds or cuts."""
    reached: dict[str, Aim] = {}
    for kind, share in dict.fromkeys((row["set"], row["share"]) for row in rows):
        mine = [row for row in rows if (row["set"], row["share"]) == (kind, share)]
        key = f"{kind} {share:.0%}"
        if kind in (BIASED_MNIST, BUILTIN) or not {CONTROL, DEFAULT, CEILING} <= {
            row["method"] for row in mine
        }:
            continue
        if kind == COLOURED_DIGITS:
            least = _LEAST_AVERAGE.get(share, mean(mine, CONTROL, "average") - _MAY_LOSE)
            reached[f"{key}: average"] = Aim(mean(mine, DEFAULT, "average"), at_least=least)
            continue
        if kind.endswith("swapped"):
            least = mean(mine, CONTROL, "worst") - _MAY_LOSE_SWAPPED
        elif share == NO_SHORTCUT:
            least = mean(mine, CONTROL, "worst") - _MAY_LOSE
        else:
            loss = _MAY_MISS if share == OWN_SHARE and kind in PLANTS else _MAY_MISS_CUT
            least = mean(mine, CEILING, "worst") - loss
        reached[f"{key}: worst group"] = Aim(mean(mine, DEFAULT, "worst"), at_least=least)
    return reached


def gate_aim(opened: Sequence[bool]) -> dict[str, Aim]:
    """The share of sets without a shortcut in which the default named a minority."""
    return (
        {"gate opened without a shortcut": Aim(float(np.mean(opened)), at_most=_MAY_OPEN)} if opened else {}
    )


def mean(rows: Sequence[Row], method: str, figure: str) -> float:
    return float(np.mean([row[figure] for row in rows if row["method"] == method]))
