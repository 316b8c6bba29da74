"""Which model to name where a head was divided and the images at hand cannot show what that did.

    python -m research.untested_folders [--solar WHEEL] [--data FOLDER] [--sets background …]

A folder without groups is the training set of a case of `research.rivals` or `research.photographs`: the
service takes 10, 15 and 15 % of it for validation, calibration and test, which have the shortcut as often as
the rest. Counted are the folders whose gate opens, by their verdict. Three rules: the head;
the higher of plain training and head in the worst inferred group of that test split, plain training if they
are equal or no image has a group; plain training. Worst groups are true ones, of the test half that is
balanced and that no rule sees.

Prints a line for each set, share and verdict, means over its seeds and cuts, and what each rule loses there on
the better of the two models and gains on plain training. Ends with one JSON line; there are no targets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks._common import finish, make_run, table, work_folder
from models.runtime.process import prepare_process
from models.types import Labels
from research._inferred import BEFORE, CONTROL, HEAD, Row, find, judge, rows_by, worst_group
from research.photographs import SHARES, read_solar
from research.rivals.cases import add_sets, figures_on_test, parse, read_training
from research.rivals.features import FeatureCache
from research.rivals.sets import Case, read_cases

_TEST, _HELD_OUT = 0.15, 0.25
_RULES = ("head", "inferred", "plain")


def main() -> int:
    arguments = _arguments()
    prepare_process(arguments.threads)
    rows: list[Row] = []
    with work_folder(arguments.cache) as folder:
        for case in _cases(arguments, FeatureCache(folder)):
            rows.append(_measure(case))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    divided = [row for row in rows if row["is_divided"]]
    cells = rows_by(divided, "set", "share", "verdict")
    print(table([_line(mine) for mine in cells]), end="\n\n")
    for verdict in ("not_testable", "no_detectable_effect"):
        mine = [cell for cell in cells if cell[0]["verdict"] == verdict]
        print(verdict, table([_summary(rule, mine) for rule in _RULES]), sep="\n\n", end="\n\n")
    return finish("untested_folders", make_run("cpu", arguments.seeds[0], "folders"), rows=rows, aims={})


def _cases(arguments: argparse.Namespace, cache: FeatureCache) -> Iterator[Case]:
    if arguments.solar is not None:
        yield from read_solar(arguments.solar, cache, SHARES, arguments.seeds)
    for kind in arguments.sets:
        cases = read_cases(kind, arguments.data, cache, seeds=arguments.seeds, quick=arguments.quick)
        yield from (case for case in cases if not case.gate_only)


def _measure(case: Case) -> Row:
    """A folder: its verdict, whether a class was divided, and the true worst group by each rule."""
    rows, test = _split(case.train.labels, case.repeat)
    models = find(read_training(case._replace(train=case.train.take(rows))), "auto")
    row: Row = {"set": case.kind, "share": case.share, "repeat": case.repeat}
    judged = judge(models, case.train.take(test))
    verdict = judged.verdict(HEAD, CONTROL, judged.groups).verdict if models.decides else "not_testable"
    row |= {"reason": models.minority.reason, "verdict": verdict, "is_divided": models.is_divided}
    true = {arm: figures_on_test(case, models.heads[arm])["worst"] for arm in (BEFORE, HEAD)}
    inferred = {
        arm: worst_group(judged.right[arm], judged.groups) if (judged.groups >= 0).any() else 0.0
        for arm in true
    }
    by_groups = HEAD if inferred[HEAD] > inferred[BEFORE] else BEFORE
    chosen = dict(zip(_RULES, (HEAD, by_groups, BEFORE), strict=True))
    return row | {"worst": {rule: true[arm] for rule, arm in chosen.items()}}


def _split(labels: Labels, seed: int) -> tuple[Labels, Labels]:
    """Rows to train on, and those of the test split, of each class alike."""
    rng, train, test = np.random.default_rng([seed, 96]), list[Labels](), list[Labels]()
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        to_test, to_train = (round(share * len(rows)) for share in (_TEST, _TEST + _HELD_OUT))
        test.append(rows[:to_test])
        train.append(rows[to_train:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def _line(rows: Sequence[Row]) -> Row:
    line: Row = {"set": rows[0]["set"], "at": f"{rows[0]['share']:.0%}"}
    line |= {"verdict": rows[0]["verdict"], "folders": len(rows)}
    return line | {rule: _mean(rows, rule) for rule in _RULES}


def _summary(rule: str, cells: Sequence[Sequence[Row]]) -> Row:
    if not cells:
        return {"rule": rule, "cells": 0}
    lost = [max(_mean(mine, one) for one in ("head", "plain")) - _mean(mine, rule) for mine in cells]
    gained = [_mean(mine, rule) - _mean(mine, "plain") for mine in cells]
    return {
        "rule": rule,
        "cells": len(cells),
        "lost, mean": float(np.mean(lost)),
        "lost, worst cell": max(lost),
        "gained on plain, mean": float(np.mean(gained)),
        "gained on plain, worst cell": min(gained),
    }


def _mean(rows: Sequence[Row], rule: str) -> float:
    return float(np.mean([row["worst"][rule] for row in rows]))


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        "python -m research.untested_folders", description=__doc__.splitlines()[0]
    )
    add_sets(parser)
    parser.add_argument("--solar", type=Path, help="the wheel of elpv_dataset, as for research.photographs")
    return parse(parser)


if __name__ == "__main__":
    sys.exit(main())
