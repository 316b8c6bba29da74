"""How often the certificate's promise holds, and at what coverage: simulated splits, subjects, real images.

    python -m benchmarks.selective [--draws N] [--quick] [--no-simulation]
        [--mnist DIR] [--plants ZIP] [--cifar10 DIR] [--svhn DIR] [--epochs N] [--size PIXELS]
        [--seeds 0 1 2] [--work FOLDER]

Simulated: each population defines a risk at every coverage; each draw is a calibration split from it,
passed to `models.selective`. The certificate is compared with the threshold that just meets the target on
the calibration split (naive), with SGR (Geifman and El-Yaniv 2017), and with the best possible (oracle).

Choice: one of the four models of a report, or a risk, is chosen by its certificate
(benchmarks._selective_choice).

Subjects: a data set of digits, each with twelve copies that are one subject. The certificate on one image per
subject is compared with the one that counts every image, and with a test for means of subjects
(benchmarks._selective_subjects). Drift is looked for where nothing changes but subjects return
(benchmarks._selective_drift).

By class: promises for the answers and the inputs of each class, jointly, beside thresholds read off the
split; prediction sets with a threshold for each class, beside one for all; and how few inputs of a class
the sets of a single calibration hold (benchmarks._selective_classes).

New risks: the processor time of a certificate that nobody has asked for before, with 100,000 samples.

Real images: ERM and MaskTune are trained, and every score is evaluated under every policy
(benchmarks._selective_images): Biased MNIST with random assignment and the plants for 3 epochs of ERM,
CIFAR-10 and SVHN with their presets (300 epochs; --epochs for fewer). Ends with one JSON line; exits with
1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy.special import bdtr
from scipy.stats import binom

from benchmarks import _selective_choice as choice
from benchmarks import _selective_classes as classes
from benchmarks import _selective_drift as drift
from benchmarks import _selective_subjects as subjects
from benchmarks._needs import need_path
from benchmarks._selective_populations import Population, bump, flat, power
from benchmarks._selective_subjects import PolicyTarget
from models.selective import CalibrationTable
from models.selective.certify import certified_step, walks
from models.selective.policies import certify

POLICY_TARGETS = (PolicyTarget(0.02, 0.99), PolicyTarget(0.01, 0.95), PolicyTarget(0.05, 0.90))
SIZES = (500, 2000, 5000)
SUBJECT_DRAWS = CLASS_DRAWS = 300
MANY_SAMPLES = 100_000
_SET_DRAWS = 10  # calibrations of one class to one draw of four

# Of the prototype's population, only its oracle (85.8 % at 2 %) and three coverages are known. This power
# comes closest to all of them, so the figures below check the procedure, and SGR's check the
# reconstruction.
PROTOTYPE = "prototype"
POPULATIONS = (
    Population(PROTOTYPE, power(7.75, oracle=0.858, risk=0.02)),
    Population("few errors", power(12, oracle=0.97, risk=0.02)),
    Population("many errors", power(2, oracle=0.5, risk=0.02)),
    Population("label noise", power(8, oracle=0.8, risk=0.02, floor=0.008)),
    Population("sure errors", bump),
    Population("ties", power(7.75, oracle=0.858, risk=0.02), levels=25),
    # Risk just above the wish at every coverage: the hardest to refuse.
    *(Population(f"flat {target.max_risk:.0%}", flat(1.02 * target.max_risk)) for target in POLICY_TARGETS),
)
# The prototype's measurements there (mean coverage at 2 % with 99 %), to be met to a percentage point.
REFERENCE = {
    ("certificate", 2000): 0.801,
    ("certificate", 500): 0.623,
    ("sgr", 2000): 0.782,
    ("sgr", 500): 0.0,
}


def certificate(table: CalibrationTable, target: PolicyTarget) -> float:
    """Answered coverage, as the rank of the threshold; 0 if nothing is certified."""
    step = certified_step(table, *target)
    return 0.0 if step is None else float(-table.thresholds[step])


def naive(table: CalibrationTable, target: PolicyTarget) -> float:
    fits = np.flatnonzero(table.wrong <= target.max_risk * table.answered)
    return float(-table.thresholds[fits[-1]]) if len(fits) else 0.0


def sgr(table: CalibrationTable, target: PolicyTarget) -> float:
    """Binary search over the ranks; each step uses an equal part of δ."""
    rounds = math.ceil(math.log2(table.n))
    level = (1 - target.confidence) / rounds
    low, high, best = 0, len(table.answered) - 1, -1
    for _ in range(rounds):
        middle = (low + high + 1) // 2
        if bdtr(table.wrong[middle], table.answered[middle], target.max_risk) <= level:
            low, best = middle, max(best, middle)
        else:
            high = middle
    return float(-table.thresholds[best]) if best >= 0 else 0.0


METHODS: dict[str, Callable[[CalibrationTable, PolicyTarget], float]] = {
    "certificate": certificate,
    "sgr": sgr,
    "naive": naive,
}


def simulate(
    population: Population, n: int, *, draws: int, rng: np.random.Generator
) -> list[dict[str, object]]:
    """One row per wish: mean coverage and share of violations of each method over the same draws."""
    tables = [population.draw(n, rng) for _ in range(draws)]
    rows: list[dict[str, object]] = []
    for target in POLICY_TARGETS:
        row: dict[str, object] = {
            "population": population.name,
            "n": n,
            **target._asdict(),
            "oracle": population.oracle(target.max_risk),
        }
        for name, method in METHODS.items():
            covered = [method(table, target) for table in tables]
            broken = sum(c > 0 and population.true_risk(c) > target.max_risk for c in covered)
            row |= {f"{name}_coverage": sum(covered) / draws, f"{name}_violations": broken / draws}
        rows.append(row)
    return rows


def targets(rows: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    """Every promise must hold; the prototype's coverage must be met to a percentage point."""
    excess = [
        (float(row["certificate_violations"]) / (1 - float(row["confidence"])), row)  # type: ignore[arg-type]  # figures
        for row in rows
    ]
    worst, where = max(excess, key=lambda pair: pair[0])
    summaries: dict[str, dict[str, object]] = {
        "violations_over_delta": {
            "value": worst,
            "at_most": 1.0,
            "population": where["population"],
            "n": where["n"],
            "ok": worst <= 1.0,
        }
    }
    for (method, n), expected in REFERENCE.items():
        target = POLICY_TARGETS[0]
        (row,) = (
            r
            for r in rows
            if r["population"] == PROTOTYPE and r["n"] == n and r["max_risk"] == target.max_risk
        )
        value = float(row[f"{method}_coverage"])  # type: ignore[arg-type]  # a figure
        summaries[f"{method}_coverage_{n}"] = {
            "value": value,
            "reference": expected,
            "within": 0.01,
            "ok": abs(value - expected) <= 0.01,
        }
    return summaries


def show(row: dict[str, object]) -> None:
    cells = " ".join(f"{row[f'{m}_coverage']:9.3f} {row[f'{m}_violations']:8.4f}" for m in METHODS)
    print(
        f"{row['population']:12} {row['n']:5} {row['max_risk']:5.0%} {row['confidence']:5.0%}"
        f" {row['oracle']:7.3f} {cells}"
    )


def simulated(draws: int, seed: int) -> list[dict[str, object]]:
    """Simulate every population, size and wish, and print each row as it comes."""
    rng = np.random.default_rng(seed)
    print(
        f"{'population':12} {'n':>5} {'risk':>5} {'conf':>5} {'oracle':>7} "
        + " ".join(f"{m[:9]:>9} {'broken':>8}" for m in METHODS)
    )
    rows: list[dict[str, object]] = []
    for population in POPULATIONS:
        for n in SIZES:
            for row in simulate(population, n, draws=draws, rng=rng):
                show(row)
                rows.append(row)
    return rows


def on_subjects(draws: int, seed: int) -> list[dict[str, Any]]:
    """The figures where images come in subjects."""
    from benchmarks._common import table  # imports torch

    figures = list(subjects.rows(draws, seed))
    print(table(figures), flush=True)
    return figures


def on_returning_subjects(runs: int, seed: int) -> list[dict[str, Any]]:
    """The false alarms of drift where subjects return."""
    from benchmarks._common import table  # imports torch

    figures = drift.rows(runs, seed)
    print(table(figures), flush=True)
    return figures


def of_choice(draws: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The figures where a model, or a risk, is chosen by its certificate."""
    from benchmarks._common import table  # imports torch

    figures = {
        "choice_of_model": list(choice.model_rows(draws, seed)),
        "choice_of_risk": list(choice.risk_rows(draws // 4, seed)),
    }
    print(*map(table, figures.values()), sep="\n", flush=True)
    return figures


def of_new_risks(seed: int) -> list[dict[str, Any]]:
    """The processor time of a certificate that nobody has asked for before, with many calibration samples;
    beside it, that of the most errors at every number answered, which the service worked out once."""
    from benchmarks._common import table  # imports torch

    rng = np.random.default_rng(seed)
    right = rng.random(MANY_SAMPLES) > 0.02
    calibration = CalibrationTable.build(rng.random(MANY_SAMPLES), right)
    answered, risks = np.arange(calibration.n + 1), rng.uniform(0.001, 0.2, 40).tolist()
    ways: dict[str, Callable[[float], object]] = {
        "a certificate": lambda risk: certify(calibration, max_risk=risk, confidence=0.95),
        "the most errors at every number": lambda risk: [
            binom.ppf(walk.level, answered, risk) for walk in walks(calibration.n, risk, 0.95)
        ],
    }
    figures = []
    for name, ask in ways.items():
        milliseconds = sorted(_processor_milliseconds(ask, risk) for risk in risks)
        figures.append({"way": name, "median_ms": median(milliseconds), "most_ms": milliseconds[-1]})
    print(table(figures), flush=True)
    return figures


def _processor_milliseconds(ask: Callable[[float], object], risk: float) -> float:
    start = time.process_time()
    ask(risk)
    return 1000 * (time.process_time() - start)


def by_class(draws: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The figures of promises by class, of prediction sets, and of these by calibration."""
    from benchmarks._common import table  # imports torch

    figures = {
        "by_class": list(classes.rows(draws, seed)),
        "sets": list(classes.set_rows(draws, seed)),
        "sets_by_calibration": list(classes.calibration_rows(_SET_DRAWS * draws, seed)),
    }
    print(*map(table, figures.values()), sep="\n", flush=True)
    return figures


def on_images(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """The figures of every data set named on the command line."""
    from benchmarks import _selective_images as images  # imports torch
    from benchmarks._common import make_run, table, work_folder
    from models.runtime.process import prepare_process

    collected: dict[str, list[dict[str, Any]]] = {"policies": [], "areas": []}
    prepare_process(arguments.threads)
    with work_folder(arguments.work) as folder:
        for seed in arguments.seeds:
            for make in _settings(arguments, images, folder, seed):
                setting = make()
                answers = images.answers(
                    setting, make_run(arguments.device, seed, setting.name), folder=folder
                )
                rows, areas = list(images.rows(setting, answers)), list(images.areas(setting, answers))
                print(table([{k: v for k, v in row.items() if k != "groups"} for row in rows]))
                print(table(areas), flush=True)
                collected["policies"] += rows
                collected["areas"] += areas
    return collected


def _settings(
    arguments: argparse.Namespace, images: Any, folder: Path, seed: int
) -> Iterator[Callable[[], Any]]:
    few = arguments.epochs or 3
    if arguments.mnist:
        yield partial(images.mnist_setting, folder, arguments.mnist, epochs=few, seed=seed)
    if arguments.plants:
        yield partial(
            images.plants_setting, folder, arguments.plants, epochs=few, seed=seed, size=arguments.size
        )
    for name in ("cifar10", "svhn"):
        root = getattr(arguments, name)
        if root:
            yield partial(images.preset_setting, name, folder, root, epochs=arguments.epochs, seed=seed)


def image_targets(rows: list[dict[str, Any]]) -> dict[str, dict[str, object]]:
    """If calibration and test are alike, at most a share δ of test halves may surely break the promise."""
    aims: dict[str, dict[str, object]] = {}
    for row in rows:
        if row["case"] == "shifted" or not row["policy"].startswith("certificate"):
            continue
        value = float(row["surely_above"])
        name = f"{row['set']}/{row['case']}/{row['score']}"
        aims[name] = {"value": value, "at_most": row["delta"], "ok": value <= row["delta"]}
    return aims


def main() -> int:
    arguments = _arguments()
    named = {flag: getattr(arguments, flag) for flag in ("mnist", "plants", "cifar10", "svhn")}
    for flag, path in named.items():
        need_path(path, f"--{flag}")
    draws = 100 if arguments.quick else arguments.draws
    start = time.perf_counter()
    rows = [] if arguments.no_simulation else simulated(draws, arguments.seed)
    aims = targets(rows) if rows and not arguments.quick else {}
    chosen = of_choice(draws, arguments.seed)
    aims |= {} if arguments.quick else choice.targets(*chosen.values())
    subject_draws = 30 if arguments.quick else SUBJECT_DRAWS
    of_subjects = on_subjects(subject_draws, arguments.seed)
    aims |= {} if arguments.quick else subjects.targets(of_subjects, subject_draws)
    drift_runs = 5 if arguments.quick else drift.RUNS
    of_drift = on_returning_subjects(drift_runs, arguments.seed)
    aims |= {} if arguments.quick else drift.targets(of_drift, drift_runs)
    class_draws = 30 if arguments.quick else CLASS_DRAWS
    of_classes = by_class(class_draws, arguments.seed)
    if not arguments.quick:
        aims |= classes.targets(of_classes["by_class"], of_classes["sets"])
        aims |= classes.calibration_targets(of_classes["sets_by_calibration"])
    new_risks = of_new_risks(arguments.seed)
    most = new_risks[0]["most_ms"]
    aims["milliseconds of a new risk"] = {"value": most, "at_most": 20, "ok": most <= 20}
    images = on_images(arguments) if any(named.values()) else {}
    aims |= image_targets(images.get("policies", []))
    ok = all(bool(aim["ok"]) for aim in aims.values())
    line = {
        "benchmark": "selective",
        "figures": rows,
        "subjects": of_subjects,
        "returning_subjects": of_drift,
        **of_classes,
        **chosen,
        "new_risks": new_risks,
        "images": images,
        "targets": aims,
        "draws": draws,
        "subject_draws": subject_draws,
        "class_draws": class_draws,
        "seconds": round(time.perf_counter() - start, 1),
        "ok": ok,
    }
    print(json.dumps(line))
    return 0 if ok else 1


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="few draws: a smoke test, not a proof")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--no-simulation", action="store_true", help="without the simulated splits")
    parser.add_argument("--mnist", type=Path, help="the folder of the four idx files")
    parser.add_argument("--plants", type=Path, help="the zip file")
    parser.add_argument("--cifar10", type=Path, help="the folder that torchvision reads CIFAR-10 from")
    parser.add_argument("--svhn", type=Path, help="the folder that torchvision reads SVHN from")
    parser.add_argument("--epochs", type=int, help="of ERM")
    parser.add_argument("--size", type=int, default=96, help="pixels, of the plants")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--work",
        type=Path,
        help="a folder for data and checkpoints: the same command goes on where it was cut off",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
