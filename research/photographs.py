"""The advice on photographs that nobody made for it: solar cells, whose crystal is a natural shortcut.

    python -m research.photographs --solar WHEEL [--shares 0.85 0.92 0.97] [--seeds 0 1 2] [--cache FOLDER]

The wheel is `elpv_dataset` 1.0.0.post1 from PyPI (electroluminescence images; CC BY-NC-SA: to measure with):
of the cells with a probability of a defect of 0 or 1, class functional or defective, crystal mono or poly.
The share of each class has the crystal of its class, in test each of the four groups 90 images. Features and
heads are those of `research.inferred_groups`, whose finder sees no crystal; worst groups are true ones.

Prints a line for each crystal of the defective cells and share, means over seeds: what is named, whose labels
are doubted, and the worst group of ERM, the control, the retrained head, the recommended model and the head
over labelled groups. Ends with one JSON line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks._common import Aim, finish, make_run, table, work_folder
from models.data.images.decoding import resize_square
from models.mitigation.groups import label_groups
from models.mitigation.wrong_labels import are_wrong
from models.runtime.process import prepare_process
from models.types import Labels
from research._data import require
from research._inferred import BEFORE, CONTROL, HEAD, Found, Row, find, judge, recommended, rows_by
from research.rivals.cases import figures_on_test, read_training
from research.rivals.features import FeatureCache, Images, Photographs
from research.rivals.protocol import retrain
from research.rivals.sets import Case

_PIXELS, _OF_TEST = 224, 90
_CRYSTALS = ("mono", "poly")
_LABELLED = "labelled groups"
_LEAST_LABELLED = {"mono": 0.4, "poly": 0.7}
_AT = 0.92
SHARES = (0.85, 0.92, 0.97)


def main() -> int:
    arguments = _arguments()
    prepare_process(2)
    rows: list[Row] = []
    with work_folder(arguments.cache) as folder:
        for case in read_solar(arguments.solar, FeatureCache(folder), arguments.shares, arguments.seeds):
            rows.append(_measure(case))
            print(rows[-1], file=sys.stderr, flush=True)
    print(table([_line(mine) for mine in rows_by(rows, "set", "share")]))
    return finish(
        "photographs", make_run("cpu", arguments.seeds[0], "photographs"), rows=rows, aims=_aims(rows)
    )


# --- the cells -------------------------------------------------------------------------------------


def _read_cells(wheel: Path, cache: FeatureCache) -> Photographs:
    """All cells: the class is 1 for defective ones, the place 1 for poly."""
    with zipfile.ZipFile(wheel) as pack:
        lines = [line.split() for line in pack.read("elpv_dataset/data/labels.csv").decode().splitlines()]
        certain = [(name, float(defect), kind) for name, defect, kind in lines if float(defect) in (0, 1)]

        def read_images() -> Images:
            return np.stack([_square(pack.read(f"elpv_dataset/data/{name}")) for name, _, _ in certain])

        labels = np.array([int(defect) for _, defect, _ in certain])
        places = np.array([_CRYSTALS.index(kind) for _, _, kind in certain])
        return cache.load("solar", read_images, labels, places)


def _square(file: bytes) -> Images:
    pixels = torch.from_numpy(np.array(Image.open(io.BytesIO(file)).convert("RGB")))
    square = resize_square(pixels.permute(2, 0, 1)[None], _PIXELS)
    return np.asarray(square[0].permute(1, 2, 0).numpy())


def read_solar(
    wheel: Path, cache: FeatureCache, shares: Sequence[float], seeds: Sequence[int]
) -> Iterator[Case]:
    """Every cut, of either crystal: the set is called by that of most defective cells."""
    cells = _read_cells(wheel, cache)
    for crystal, name in enumerate(_CRYSTALS):
        for share in shares:
            for seed in seeds:
                train, test = _cut(cells, crystal, share, seed)
                yield Case(name, share, seed, seed, train, test)


def _cut(cells: Photographs, crystal: int, share: float, seed: int) -> tuple[Photographs, Photographs]:
    """Most defective cells of the training images are of this crystal, most functional ones of the other. A
    place is then the class whose crystal an image shows."""
    rng, train, test = np.random.default_rng([seed, 97]), list[Labels](), list[Labels]()
    shown = cells.places if crystal else 1 - cells.places
    for label in (0, 1):
        own, other = (
            rng.permutation(np.flatnonzero((cells.labels == label) & (shown == place)))
            for place in (label, 1 - label)
        )
        test += [own[:_OF_TEST], other[:_OF_TEST]]
        own, other = own[_OF_TEST:], other[_OF_TEST:]
        train += [own, other[: round(len(own) * (1 - share) / share)]]
    places = Photographs(**(vars(cells) | {"places": shown}))
    return places.take(np.sort(np.concatenate(train))), places.take(np.sort(np.concatenate(test)))


# --- figures ---------------------------------------------------------------------------------------


def _measure(case: Case) -> Row:
    training = read_training(case)
    inferred, labels = find(training, "auto"), case.train.labels
    judged = judge(inferred, case.test)
    true = label_groups(labels, case.train.places, classes=training.classes, names=training.classes)
    heads = dict(inferred.heads) | {_LABELLED: retrain(training, true).head}
    worst = {str(name): figures_on_test(case, head)["worst"] for name, head in heads.items()}
    arm = recommended(inferred, judged)
    return {
        "set": case.kind,
        "share": case.share,
        "seed": case.seed,
        "reason": inferred.minority.reason,
        "worst": worst | {"recommended": worst[arm]},
        "arm": arm,
        "verdict": judged.verdict(HEAD, CONTROL, judged.groups).verdict if inferred.decides else None,
        **_named(inferred, labels, labels != case.train.places),
    }


def _named(inferred: Found, labels: Labels, lacks: Labels) -> Row:
    """What is named by class, and whether doubted labels, all of which are right, changed a weight."""
    minority = inferred.minority
    if minority.patterns is None or minority.label_doubt is None:
        return {"recall": [0.0, 0.0], "precision": 0.0, "doubted": [0, 0], "altered": False}
    named = minority.patterns != labels
    return {
        "recall": [float(named[lacks & (labels == label)].mean()) for label in (0, 1)],
        "precision": float(lacks[named].mean()),
        "doubted": np.bincount(labels[minority.label_doubt > 0.5], minlength=2).tolist(),
        "altered": are_wrong(minority.label_doubt, labels),
    }


def _worst(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([row["worst"][name] for row in rows]))


def _line(rows: Sequence[Row]) -> Row:
    recall = np.mean([row["recall"] for row in rows], axis=0)
    return {
        "defective cells are": f"{rows[0]['share']:.0%} {rows[0]['set']}",
        "recall": f"{recall[0]:.2f}, {recall[1]:.2f}",
        "precision": float(np.mean([row["precision"] for row in rows])),
        "doubted": " ".join(str(sum(row["doubted"])) for row in rows),
        **{name: _worst(rows, name) for name in (BEFORE, CONTROL, HEAD, "recommended", _LABELLED)},
        "verdicts": " ".join(str(row["verdict"]) for row in rows),
    }


def _aims(rows: Sequence[Row]) -> dict[str, Aim]:
    cells = rows_by(rows, "set", "share")
    gains = {
        name: [_worst(mine, name) - _worst(mine, BEFORE) for mine in cells] for name in (HEAD, "recommended")
    }
    not_better = [row for row in rows if row["worst"][HEAD] <= row["worst"][BEFORE]]
    aims = {
        "head over ERM, mean": Aim(float(np.mean(gains[HEAD])), at_least=0.15),
        "head over ERM, worst cell": Aim(min(gains[HEAD]), at_least=-0.02),
        "recommended over ERM, mean": Aim(float(np.mean(gains["recommended"])), at_least=0.12),
        "helped where ERM is not beaten": Aim(
            sum(row["verdict"] == "helped" for row in not_better), at_most=0
        ),
        "weights changed by doubt": Aim(sum(row["altered"] for row in rows), at_most=0),
    }
    for mine in cells:
        if mine[0]["share"] == _AT:
            name = mine[0]["set"]
            aims[f"{name}, {_LABELLED}"] = Aim(_worst(mine, _LABELLED), at_least=_LEAST_LABELLED[name])
    return aims


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser("python -m research.photographs", description=__doc__.splitlines()[0])
    parser.add_argument("--solar", type=Path, required=True, help="the wheel of elpv_dataset")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, help="a folder for features (default: a temporary one)")
    arguments = parser.parse_args()
    require(parser, arguments.solar)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
