"""Shared by simulations of a rule's error rates: arguments, and the check of the worst rate. No torch."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

TARGET = 0.05
"""Share of draws without an effect in which a rule may see one."""


def arguments(description: str) -> argparse.Namespace:
    """Parse `draws` and `seed` from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def finish(name: str, *, worst: float, draws: int, figures: Sequence[dict[str, Any]], seconds: float) -> int:
    """Print the JSON line; return the exit status, 1 if `worst`, the largest null error rate, is too high."""
    # Three standard errors of a share, so that a good rule does not fail by chance.
    allowed = TARGET + 3 * (TARGET * (1 - TARGET) / draws) ** 0.5
    ok = worst <= allowed
    targets = {"worst_null_error": {"value": worst, "at_most": TARGET, "with_simulation_error": allowed}}
    line = {"benchmark": name, "figures": list(figures), "targets": targets}
    print(json.dumps(line | {"seconds": round(seconds, 1), "ok": ok}))
    return 0 if ok else 1
