"""Rules for a head's penalty, side by side: `python -m research.rivals.penalty [--data FOLDER]`.

Each rule takes the largest penalty whose held-out loss is within one or two errors of the lowest. `loss`: the
standard error of the lowest loss itself. `difference`: that of the two losses' difference on the same images.
Behind it stand the smallest and the largest penalty that may be taken. The product takes the one with two
differences up to 10 where the groups divide a class, else the one with one difference from 0.01. The heads
are balanced over the classes (the control), over the groups that early stages name, where they do, and over
the true groups. Where the set says which images show one object, the penalties of divided heads are also
chosen on folds that hold whole objects out. `drawn to ERM`: a divided head that its penalty draws towards
ERM's weights in place of zero, as in AFR (Qiu et al. 2023).

The sets are those of `research.rivals`, with its arguments. Prints average / worst group on the test half,
means over seeds or cuts, then the means over the sets of what each rule gains on the first, with the standard
error over the sets, and the worst cell beside the product's rule. Ends with one JSON line; there are no targets.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from benchmarks._common import finish, make_run, table, work_folder
from models.mitigation.features import Features, Head
from models.mitigation.finder import infer_minority
from models.mitigation.groups import Groups, class_groups, label_groups
from models.mitigation.logistic import Standardised, fit_heads
from models.mitigation.retrain import CrossFit, cross_fits, fit_balanced
from models.runtime.process import prepare_process
from models.types import Labels
from research.rivals.cases import add_sets, figures_on_test, parse, read_training
from research.rivals.protocol import CONFIG, Training
from research.rivals.features import FeatureCache
from research.rivals.sets import Case, read_cases


class Rule(NamedTuple):
    """`paired`: the error is that of the difference; no penalty below `least` is taken, and none above
    `most`."""

    paired: bool
    least: float
    errors: float = 1
    most: float = 100

    def __str__(self) -> str:
        return f"{self.errors:g} {'difference' if self.paired else 'loss'}, {self.least:g} to {self.most:g}"

    def choose(self, fits: Mapping[float, CrossFit]) -> float:
        allowed = {penalty: fit for penalty, fit in fits.items() if penalty >= self.least}
        best = min(allowed.values(), key=lambda fit: fit.loss)

        def error(fit: CrossFit) -> float:
            return float(np.linalg.norm(fit.influence - best.influence if self.paired else best.influence))

        within = (p for p, fit in allowed.items() if fit.loss <= best.loss + self.errors * error(fit))
        return min(max(within), self.most)


RULES = (
    *(Rule(False, 0.1), Rule(True, 0.03), Rule(True, 0.01)),
    *(Rule(True, 0.03, errors, 10) for errors in (1, 1.5, 2)),
)
PRODUCT = RULES[-1]
"""Where the groups divide a class."""
_PENALTIES = CONFIG.penalties
_HARDLY_PENALISED = 10.0  # times as large as the features
Row = dict[str, Any]


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m research.rivals.penalty", description=__doc__.partition("\n")[0]
    )
    add_sets(parser)
    arguments = parse(parser)
    prepare_process(arguments.threads)
    rows: list[Row] = []
    with work_folder(arguments.cache) as folder:
        cache = FeatureCache(folder, arguments.backbone)
        for kind in arguments.sets:
            for case in read_cases(kind, arguments.data, cache, seeds=arguments.seeds, quick=arguments.quick):
                if not case.gate_only:
                    rows += _measure(case)
    for balanced in dict.fromkeys(row["groups"] for row in rows):
        means = _means([row for row in rows if row["groups"] == balanced])
        print(
            f"balanced over {balanced}",
            table(_accuracies(means)),
            table(_gains(means)),
            sep="\n\n",
            end="\n\n",
        )
    print(table(_beside_the_product(rows)))
    return finish("rivals.penalty", make_run("cpu", arguments.seeds[0], "penalty"), rows=rows, aims={})


def _measure(case: Case) -> Iterator[Row]:
    training = read_training(case)
    config = replace(CONFIG, penalties=_PENALTIES)
    for balanced, groups, features, clusters in _settings(case, training):
        standardised = features.standardised
        fits = cross_fits(standardised, features.of, groups, config, seed=training.seed, clusters=clusters)
        chosen = {rule: rule.choose(fits) for rule in RULES}
        heads = {
            penalty: features.head(fit_balanced(standardised, features.of, groups, penalty=penalty))
            for penalty in set(chosen.values())
        }
        for rule, penalty in chosen.items():
            row = {"set": case.kind, "share": case.share, "repeat": case.repeat, "groups": balanced}
            row |= {"rule": str(rule), "penalty": penalty} | figures_on_test(case, heads[penalty])
            yield row
        print(f"{case.kind} {case.share:.0%} {case.repeat} {balanced}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class _Inputs:
    """What a head is fitted to, and how the fitted one becomes one of the network's features."""

    of: Features
    standardised: Standardised

    def head(self, fitted: Head) -> Head:
        return fitted


@dataclass(frozen=True)
class _DrawnInputs(_Inputs):
    """Behind the features stand ERM's logits, hardly penalised: what the penalty shrinks is the difference to
    ERM's weights, up to a factor for each class. In training they are those of heads that were fitted without
    the sample, or the held-out loss would trust them too much."""

    erm: Head

    @classmethod
    def read(cls, training: Training) -> Self:
        last, standardised = training.last, training.standardised
        labels = torch.from_numpy(training.labels)
        plain = fit_heads(
            standardised.values,
            labels,
            torch.ones(len(labels), 1),
            penalty=training.control.penalty,
            classes=last.classes,
        )
        erm = standardised.head(plain[0])
        values = np.concatenate([last.values, training.held_out], 1).astype(np.float32)
        both = Standardised.of(values)
        scale = torch.ones(values.shape[1])
        scale[-last.classes :] = _HARDLY_PENALISED
        drawn = Standardised(both.values * scale, both.mean, both.std / scale)
        return cls(replace(last, values=values), drawn, erm)

    def head(self, fitted: Head) -> Head:
        own, of_erm = np.split(fitted.weight, [self.erm.weight.shape[1]], axis=1)
        return Head(own + of_erm @ self.erm.weight, fitted.bias + of_erm @ self.erm.bias)


def _settings(case: Case, training: Training) -> Iterator[tuple[str, Groups, _Inputs, Labels | None]]:
    """What a head is balanced over, by name, its inputs, and which images are held out together."""
    labels, classes, objects = training.labels, training.classes, case.train.objects
    inputs = _Inputs(training.last, training.standardised)
    yield "classes", class_groups(labels, classes), inputs, None
    minority = infer_minority(training.features, CONFIG, classes=classes, seed=training.seed)
    divided = {"true groups": label_groups(labels, case.train.places, classes=classes, names=classes)}
    if len(minority.groups.names) > len(classes):
        divided["inferred groups"] = minority.groups
    for balanced, groups in divided.items():
        yield balanced, groups, inputs, None
        if objects is not None:
            yield f"{balanced}, folds by object", groups, inputs, objects
        yield f"{balanced}, drawn to ERM", groups, _DrawnInputs.read(training), None


Means = dict[str, dict[str, tuple[float, float]]]
"""Set → rule → average and worst group."""


def _means(rows: Sequence[Row]) -> Means:
    by_set: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        name = f"{row['set']} {row['share']:.0%}"
        by_set[name][row["rule"]].append((row["average"], row["worst"]))
    return {
        name: {rule: tuple(np.mean(figures, 0).tolist()) for rule, figures in by_rule.items()}
        for name, by_rule in by_set.items()
    }


def _accuracies(means: Means) -> list[Row]:
    return [
        {"set": name} | {rule: f"{average:.3f} / {worst:.3f}" for rule, (average, worst) in by_rule.items()}
        for name, by_rule in means.items()
    ]


def _gains(means: Means) -> list[Row]:
    """What each rule gains on the first: means over the sets, and their standard errors."""
    figures = np.array([[by_rule[str(rule)] for rule in RULES] for by_rule in means.values()])
    gains = figures - figures[:, :1]
    errors = (
        gains.std(0, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else np.full(gains.shape[1:], np.nan)
    )
    return [
        {"rule": str(rule), "sets": len(gains)}
        | {
            name: f"{gains[:, number, column].mean():+.3f} ± {errors[number, column]:.3f}"
            for column, name in enumerate(("average", "worst group"))
        }
        for number, rule in enumerate(RULES)
    ]


def _beside_the_product(rows: Sequence[Row]) -> list[Row]:
    """What each rule, and each way to fit, gains in the worst group on the product's rule with the same groups:
    the mean over sets and repeats, and the worst of these cells."""
    by_cell: dict[tuple[str, str], dict[tuple[str, float, int], float]] = defaultdict(dict)
    for row in rows:
        by_cell[row["groups"], row["rule"]][row["set"], row["share"], row["repeat"]] = row["worst"]
    lines = []
    for (groups, rule), worst in by_cell.items():
        product = by_cell[groups.partition(",")[0], str(PRODUCT)]
        gains = np.array([worst[cell] - product[cell] for cell in worst if cell in product])
        figures = {"cells": len(gains), "mean": gains.mean(), "worst cell": gains.min(), "best": gains.max()}
        if groups != "classes":
            lines.append({"groups": groups, "rule": rule} | figures)
    return lines


if __name__ == "__main__":
    sys.exit(main())
