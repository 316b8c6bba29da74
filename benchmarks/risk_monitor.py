"""How often the monitor of a promised risk is wrong, how soon it notices a doubled one, and what each costs.

    python -m benchmarks.risk_monitor [--streams 500] [--seed 0]

Each stream is a sequence of answers. For false alarms they are wrong with the promised probability; else with
half of it, for a history of some length, and then with twice of it. Beside the monitor stand one whose
evidence starts with the first answer alone, what a look after every answer makes of the exact binomial test,
and MAPIE's `RiskMonitoring` with the promised risk as its threshold (Podkopaev and Ramdas 2022), if it is
installed, on a tenth of the streams.
Ends with one JSON line; exits with 1 if a target is missed: false alarms in more streams than δ explains; a
doubled risk that is noticed in fewer than nine streams of ten, less three standard errors, within the number
of answers that the monitor names; a judgement of 20,000 answers that takes longer than 200 ms; or a promise
of a risk that nobody asked for before, from 100,000 calibration samples, certified or not, longer than 20 ms.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import bdtrc

from benchmarks._common import Aim, finish, table
from benchmarks._needs import is_installed
from models.run import Run
from models.selective import CalibrationTable, certify
from models.selective.risk_monitor import RiskMonitor
from models.statistics import clopper_pearson

PROMISES = ((0.02, 0.99), (0.05, 0.99), (0.1, 0.95))
HISTORIES = (0, 200, 1000, 2000)
Stream = NDArray[np.bool_]
Detector = Callable[[RiskMonitor, Stream], int | None]
"""The index of the answer at which a stream is called broken."""


def main() -> int:
    arguments = _arguments()
    rng = np.random.default_rng(arguments.seed)
    detectors: dict[str, tuple[Detector, int]] = {
        "monitor": (_monitor, arguments.streams),
        "one start": (_one_start, arguments.streams),
        "binomial, every look": (_repeated_test, arguments.streams),
    }
    if is_installed("mapie"):
        detectors["MAPIE"] = _mapie, arguments.streams // 10
    rows: list[dict[str, Any]] = []
    aims: dict[str, Aim] = {}
    for max_risk, confidence in PROMISES:
        monitor = RiskMonitor(max_risk, round(1 - confidence, 12))
        promise = f"risk {max_risk:g} at {confidence:g}"
        for history in HISTORIES:
            named = monitor.answers_to_notice(history)
            assert named is not None
            steady = rng.random((arguments.streams, history + named)) < max_risk
            risks = np.repeat([max_risk / 2, 2 * max_risk], [history, named])
            risen = rng.random((arguments.streams, len(risks))) < risks
            for name, (detector, streams) in detectors.items():
                alarms = [detector(monitor, stream) is not None for stream in steady[:streams]]
                noticed = [detector(monitor, stream) is not None for stream in risen[:streams]]
                rows.append(
                    {
                        "promise": promise,
                        "history": history,
                        "by": name,
                        "false alarms": float(np.mean(alarms)),
                        "named answers": named,
                        "noticed in time": float(np.mean(noticed)),
                    }
                )
            mine = rows[-len(detectors)]
            wrong = round(mine["false alarms"] * arguments.streams)
            low = float(clopper_pearson(wrong, arguments.streams, confidence=0.95)[0])
            after = f"{promise}, after {history}"
            aims[f"{after}: false alarms, lower bound"] = Aim(low, at_most=monitor.delta)
            slack = 3 * float(np.sqrt(0.9 * 0.1 / arguments.streams))
            aims[f"{after}: noticed in time"] = Aim(mine["noticed in time"], at_least=0.9 - slack)
    aims["ms to judge 20,000 answers"] = Aim(_milliseconds(rng), at_most=200)
    costs = {
        "certified": [_certificate_milliseconds(rng, risk) for risk in (0.05, 0.2)],
        "not certifiable": [_certificate_milliseconds(rng, risk) for risk in (0.001, 0.03)],
    }
    for status, milliseconds in costs.items():
        aims[f"ms for a new risk of 100,000 samples, {status}"] = Aim(max(milliseconds), at_most=20)
    print(table(rows))
    return finish("risk_monitor", Run(torch.device("cpu")), rows=rows, aims=aims)


def _milliseconds(rng: np.random.Generator) -> float:
    """Of the slowest promise, the best of five."""
    slowest = 0.0
    for max_risk, confidence in PROMISES:
        errors = (rng.random(20_000) < 0.9 * max_risk).tolist()
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            RiskMonitor(max_risk, 1 - confidence).judge(errors)
            seconds.append(time.perf_counter() - start)
        slowest = max(slowest, min(seconds))
    return 1000 * slowest


def _certificate_milliseconds(rng: np.random.Generator, max_risk: float) -> float:
    """Of a split with 3 % errors at every coverage, the best of five risks that differ a little."""
    table = CalibrationTable.build(rng.random(100_000), rng.random(100_000) > 0.03)
    seconds = []
    for number in range(5):
        start = time.perf_counter()
        certify(table, max_risk=max_risk * (1 + number / 1000), confidence=0.99)
        seconds.append(time.perf_counter() - start)
    return 1000 * min(seconds)


def _monitor(monitor: RiskMonitor, stream: Stream) -> int | None:
    return monitor.judge(stream.tolist()).noticed_at


def _one_start(monitor: RiskMonitor, stream: Stream) -> int | None:
    wrong, n = np.cumsum(stream, dtype=np.int64), np.arange(1, len(stream) + 1)
    above = np.flatnonzero(monitor._log_ratio(n, wrong, above=True) >= -np.log(monitor.delta))
    return int(above[0]) if len(above) else None


def _repeated_test(monitor: RiskMonitor, stream: Stream) -> int | None:
    wrong, n = np.cumsum(stream), np.arange(1, len(stream) + 1)
    p_values = np.where(wrong > 0, bdtrc(np.maximum(wrong - 1, 0), n, monitor.max_risk), 1.0)
    below = np.flatnonzero(p_values <= monitor.delta)
    return int(below[0]) if len(below) else None


def _mapie(monitor: RiskMonitor, stream: Stream) -> int | None:
    from mapie.exchangeability_testing import RiskMonitoring

    # Half of its level is for a threshold that it estimates; here that is given.
    theirs = RiskMonitoring("accuracy", test_level=2 * monitor.delta, threshold=monitor.max_risk, warn=False)
    theirs.update(np.ones(len(stream), int), (~stream).astype(int))
    above = np.flatnonzero(theirs.online_risk_lower_bound_sequence_history > monitor.max_risk)
    return int(above[0]) if len(above) else None


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
