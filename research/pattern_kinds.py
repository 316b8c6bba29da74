"""Which kinds of pattern the finder sees: `python -m research.pattern_kinds [--kinds coin date …]`.

Digits with a closed loop against those without, on photographs, as builtin:digits-on-photos has them. With
each class goes a pattern of one kind of `docs.pattern_pictures`: on 95 % of its training images, and on half
of its test images. Everything ships with the product; the features are those of `research.rivals`.

Prints for each kind how many of the training images that lack the pattern of their class are named, which
share of the named that is, and average / worst group of three heads: the control, over inferred groups and
over true ones.
Ends with one JSON line; there are no targets.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks._common import finish, make_run, table, work_folder
from docs.pattern_pictures import KINDS, draw_digits
from models.mitigation.groups import label_groups
from models.runtime.process import prepare_process
from models.types import Bools, Labels
from research.rivals.cases import figures_on_test, read_training
from research.rivals.features import FeatureCache, Images
from research.rivals.methods import CEILING, CONTROL, DEFAULT, RIVALS
from research.rivals.protocol import Fit, retrain
from research.rivals.sets import OWN_SHARE, Case

_LOOPS, _NEITHER = (0, 6, 8, 9), 4  # a 4 is written both ways
_TEST_SHARE = 0.3


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m research.pattern_kinds", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="a folder for features (default: a temporary one)")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    prepare_process(arguments.threads)
    rows = []
    with work_folder(arguments.cache) as folder:
        cache = FeatureCache(folder)
        for kind in arguments.kinds:
            rows.append(_measure(_case(kind, cache, arguments.seed)))
            print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows), end="\n\n")
    return finish("pattern_kinds", make_run("cpu", arguments.seed, "kinds"), rows=rows, aims={})


def _case(kind: str, cache: FeatureCache, seed: int) -> Case:
    images, labels, places, tested = pattern_images(kind, seed)
    whole = cache.load(f"{kind}-{seed}", lambda: images, labels, places)
    train, test = (whole.take(np.flatnonzero(rows)) for rows in (~tested, tested))
    return Case(kind, OWN_SHARE, 0, seed, train, test)


def pattern_images(kind: str, seed: int) -> tuple[Images, Labels, Labels, Bools]:
    """Images of a kind in `KINDS`, 64 px, their labels, patterns, and which are for the test; each digit is
    used once."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng([seed, 8])
    pixels, digits = load_digits(return_X_y=True)
    chosen = rng.permutation(np.flatnonzero(digits != _NEITHER))
    labels = 1 - np.isin(digits[chosen], _LOOPS).astype(np.int64)
    tested = np.arange(len(chosen)) < _TEST_SHARE * len(chosen)
    lacking = rng.random(len(chosen)) < np.where(tested, 0.5, 1 - OWN_SHARE)
    places = np.where(lacking, 1 - labels, labels)
    strokes = pixels[chosen].reshape(-1, 8, 8) / 16
    return draw_digits(kind, strokes, places, rng), labels, places, tested


def _measure(case: Case) -> dict[str, object]:
    training = read_training(case)
    true = label_groups(training.labels, case.train.places, classes=training.classes, names=training.classes)
    fits = {name: RIVALS[name].fit(training) for name in (CONTROL, DEFAULT)}
    fits[CEILING] = Fit(retrain(training, true).head)
    row: dict[str, object] = {"kind": case.kind, "named": None, "of them lacking": None}
    if (minority := fits[DEFAULT].minority) is not None:
        lacking = case.train.labels != case.train.places
        row["named"] = f"{int((minority & lacking).sum())} of {int(lacking.sum())}"
        row["of them lacking"] = f"{(minority & lacking).sum() / max(minority.sum(), 1):.2f}"
    for name, fit in fits.items():
        figures = figures_on_test(case, fit.head)
        row[name] = f"{figures['average']:.3f} / {figures['worst']:.3f}"
    return row


if __name__ == "__main__":
    sys.exit(main())
