"""Shared by simulations of a rule's error rates: arguments, and the check of the worst rate. No torch."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

TARGET = 0.05
"""Share of draws without an effect in which a rule may see one."""


def parser(description: str) -> argparse.ArgumentParser:
    """A parser of `draws` and `seed`."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--draws", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=0)
    return arguments


def finish(
    name: str,
    *,
    worst: float,
    draws: int,
    figures: Sequence[dict[str, Any]],
    seconds: float,
    targets: Mapping[str, dict[str, Any]] | None = None,
) -> int:
    """Print the JSON line; return the exit status, 1 if `worst`, the largest null error rate, is too high, or
    one of the further `targets` is not `ok`."""
    # Three standard errors of a share, so that a good rule does not fail by chance.
    allowed = TARGET + 3 * (TARGET * (1 - TARGET) / draws) ** 0.5
    further = targets or {}
    ok = worst <= allowed and all(target["ok"] for target in further.values())
    own = {"worst_null_error": {"value": worst, "at_most": TARGET, "with_simulation_error": allowed}}
    line = {"benchmark": name, "figures": list(figures), "targets": own | dict(further)}
    print(json.dumps(line | {"seconds": round(seconds, 1), "ok": ok}))
    return 0 if ok else 1
