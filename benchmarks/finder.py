"""Inferred minorities beside true groups: gates, precision, recall, and the worst group of the refitted head.

    python -m benchmarks.finder --plants stampplants.zip stampplants-site.zip [--shares 0.95 0.8 …]
        [--swapped] [--mnist FOLDER] [--cuts 0 1] [--seeds 0 1 2] [--gates-only] [--work FOLDER]

The features are those of a frozen EfficientNet-Lite0 with ImageNet weights, the plants at 128 px and the
digits at 64 px. A share other than the data set's own 0.95 is a cut that drops training images, of the
majority or of the minority; `--swapped` exchanges class and place. `--mnist` adds ten digits on ten
background colours. The validation split is not used. Heads: balanced over classes (the control), over the
inferred groups, and over the true ones. Ends with one JSON line; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageColor

from benchmarks._common import Aim, add_machine, finish, make_run, table, work_folder
from masktune.contract.hyperparameters import HeadConfig
from models.backbones.build import build_network
from models.backbones.network import Network
from models.mitigation.features import Features, inputs_of
from models.mitigation.finder import Minority, infer_minority
from models.mitigation.groups import Groups, class_groups, label_groups
from models.mitigation.retrain import retrain_head
from models.mitigation.stage_features import StageFeatures, pool_stage, principal_coordinates
from models.mitigation.stages import Stage, early_stages, outputs_of
from models.runtime.process import prepare_process

Labels = NDArray[np.int64]
BACKBONE = "timm/tf_efficientnet_lite0"
OWN_SHARE, NO_SHORTCUT = 0.95, 0.5
_BATCH = 64
_COLOURS = np.array(
    [ImageColor.getrgb(f"hsl({hue}, 60%, {light}%)") for light in (35, 60) for hue in range(0, 360, 72)]
)
_DIGITS = 4000


@dataclass(frozen=True)
class Photographs:
    """N images as pooled features of each stage, `vectors` (N, D) float16, and last features (N, D)."""

    labels: Labels
    places: Labels
    stages: tuple[Stage, ...]
    vectors: tuple[NDArray[np.float16], ...]
    last: NDArray[np.float32]

    def cut(self, rows: Labels, *, swapped: bool) -> Self:
        labels, places = (self.places, self.labels) if swapped else (self.labels, self.places)
        vectors = tuple(values[rows] for values in self.vectors)
        return type(self)(labels[rows], places[rows], self.stages, vectors, self.last[rows])

    def features(self, classes: int) -> StageFeatures:
        logits = np.zeros((len(self.labels), classes), np.float32)
        last = Features(np.arange(len(self.labels)), self.labels, self.last, logits)
        batch = [torch.from_numpy(values.astype(np.float32)) for values in self.vectors]
        return StageFeatures(last, self.stages, principal_coordinates(iter([batch])))


@dataclass(frozen=True)
class Case:
    """A training half with a shortcut on the share `share` of its samples, and a balanced test half."""

    name: str
    share: float
    cut: int
    train: Photographs
    test: Photographs


def main() -> int:
    arguments = _arguments()
    prepare_process(arguments.threads)
    run = make_run("cpu", 0, "finder")
    rows: list[dict[str, Any]] = []
    with work_folder(arguments.work) as folder:
        for case in _cases(arguments, folder):
            for seed in arguments.seeds:
                rows.append(_measure(case, seed, heads=not arguments.gates_only))
                print(table(rows[-1:]), flush=True)
    print(table(rows))
    return finish("finder", run, rows=rows, aims=_aims(rows))


def _measure(case: Case, seed: int, *, heads: bool) -> dict[str, Any]:
    train, config = case.train, HeadConfig()
    classes = [str(label) for label in range(int(train.labels.max()) + 1)]
    features = train.features(len(classes))
    minority = infer_minority(features, config, classes=classes, seed=seed)
    row = {"set": case.name, "share": case.share, "cut": case.cut, "seed": seed, "images": len(train.labels)}
    row |= _gates(minority) | _quality(minority, train)
    if not heads:
        return row
    true = label_groups(train.labels, train.places, classes=classes, names=classes)
    arms = {"control": class_groups(train.labels, classes), "inferred": minority.groups, "true": true}
    accuracies: dict[str, tuple[float, float]] = {}
    for name, groups in arms.items():
        if name == "inferred" and not minority.is_open:
            accuracies[name] = accuracies["control"]
        else:
            accuracies[name] = _accuracies(features.last, groups, case.test, seed)
    for figure in (0, 1):
        row |= {f"{name}_{('worst', 'average')[figure]}": pair[figure] for name, pair in accuracies.items()}
    return row


def _gates(minority: Minority) -> dict[str, Any]:
    indices = [round(agreement.jaccard, 2) for agreement in minority.agreements]
    return {
        "J deep": indices[0],
        "J shallow": indices[1] if len(indices) > 1 else None,
        "reason": minority.reason,
        "stage": minority.stage,
    }


def _quality(minority: Minority, train: Photographs) -> dict[str, Any]:
    """Precision and recall of the inferred minority for the true one."""
    if not minority.is_open:
        return {"flagged": None, "precision": None, "recall": None}
    wrong = np.array([name.endswith("judged wrong") for name in minority.groups.names])
    flags, true = wrong[minority.groups.assigned], train.labels != train.places
    hits = int((flags & true).sum())
    return {
        "flagged": int(flags.sum()),
        "precision": hits / max(int(flags.sum()), 1),
        "recall": hits / max(int(true.sum()), 1),
    }


def _accuracies(features: Features, groups: Groups, test: Photographs, seed: int) -> tuple[float, float]:
    """(worst group, average) of the head balanced over `groups`."""
    network = build_network(BACKBONE, classes=features.classes, image_size=64)
    head = retrain_head(network, features, groups, HeadConfig(), seed=seed).head
    right = head.logits(test.last).argmax(1) == test.labels
    cells = np.unique(test.labels * 1000 + test.places, return_inverse=True)[1]
    worst = min(float(right[cells == cell].mean()) for cell in np.unique(cells))
    return worst, float(right.mean())


def _aims(rows: Sequence[dict[str, Any]]) -> dict[str, Aim]:
    """The targets for the requested sets, each on a mean over seeds and cuts."""
    aims: dict[str, Aim] = {}
    cases = defaultdict(list)
    for row in rows:
        cases[row["set"], row["share"]].append(row)
    for (name, share), some in cases.items():
        if "true_worst" not in some[0]:
            continue
        worst, control, true, average, control_average = (
            float(np.mean([row[figure] for row in some]))
            for figure in (
                "inferred_worst",
                "control_worst",
                "true_worst",
                "inferred_average",
                "control_average",
            )
        )
        key = f"{name}/{share:g}"
        if name.startswith("digits"):
            least = {0.99: 0.53, 0.95: 0.60}.get(share, control_average - 0.01)
            aims[f"{key}/average"] = Aim(average, at_least=least)
        elif "swapped" in name:
            aims[f"{key}/worst_group"] = Aim(worst, at_least=control - 0.02)
        elif share == NO_SHORTCUT:
            aims[f"{key}/worst_group"] = Aim(worst, at_least=control - 0.01)
        else:
            loss = 0.02 if share == OWN_SHARE else 0.03
            aims[f"{key}/worst_group"] = Aim(worst, at_least=true - loss)
    if none := [row["reason"] for row in rows if row["share"] == NO_SHORTCUT]:
        opened = sum(reason in ("stages_agree", "class_is_low_level") for reason in none)
        aims["no_shortcut/opened"] = Aim(opened / len(none), at_most=0.05)
    return aims


def _cases(arguments: argparse.Namespace, folder: Path) -> Iterator[Case]:
    for archive in arguments.plants:
        plants, splits = _plants(archive, folder)
        test = plants.cut(np.flatnonzero(splits == 2), swapped=arguments.swapped)
        rows = np.flatnonzero(splits == 0)
        name = archive.stem + (", swapped" if arguments.swapped else "")
        for share in arguments.shares:
            for cut in [0] if share == OWN_SHARE else arguments.cuts:
                chosen = rows if share == OWN_SHARE else _cut(plants, rows, share, cut)
                yield Case(name, share, cut, plants.cut(chosen, swapped=arguments.swapped), test)
    for share in (0.99, 0.95, 0.1) if arguments.mnist else ():
        train, test = (_digits(arguments.mnist, part, folder, share) for part in ("train", "t10k"))
        yield Case("digits on colours", share, 0, train, test)


def _cut(plants: Photographs, rows: Labels, share: float, cut: int) -> Labels:
    """Rows of which the share `share` of each class is at its place: as many as there are."""
    rng, chosen = np.random.default_rng([cut, 99]), []
    same = plants.labels[rows] == plants.places[rows]
    for label in np.unique(plants.labels):
        mine = plants.labels[rows] == label
        majority, minority = rng.permutation(rows[mine & same]), rng.permutation(rows[mine & ~same])
        fewer = min(len(minority), round(len(majority) * (1 - share) / share))
        chosen += [majority[: round(fewer * share / (1 - share))], minority[:fewer]]
    return np.sort(np.concatenate(chosen))


def _plants(archive: Path, folder: Path) -> tuple[Photographs, Labels]:
    """All images, and the split of each: 0 train, 1 val, 2 test."""
    with zipfile.ZipFile(archive) as pack:
        lines = list(csv.DictReader(io.StringIO(pack.read("metadata.csv").decode())))
        labels, places, splits = (
            np.array([int(line[key]) for line in lines]) for key in ("y", "place", "split")
        )

        def read() -> NDArray[np.uint8]:
            images = (Image.open(io.BytesIO(pack.read(line["img_filename"]))) for line in lines)
            return np.stack([np.asarray(image.convert("RGB")) for image in images])

        cached = folder / f"{archive.stem}.npz"
        if not cached.exists():
            _save_features(read(), cached)
    return _load_features(cached, labels, places, pixels=128), splits


def _digits(mnist: Path, part: str, folder: Path, share: float) -> Photographs:
    """The first 4,000 digits, white on the colour of their class in the share `share`, else on another's.

    Those of the test half have a random one.
    """
    images = _idx(mnist / f"{part}-images-idx3-ubyte.gz", 16)[: _DIGITS * 28 * 28].reshape(-1, 28, 28)
    labels = _idx(mnist / f"{part}-labels-idx1-ubyte.gz", 8)[:_DIGITS].astype(np.int64)
    rng = np.random.default_rng(7)
    test = part == "t10k"
    others = (labels + rng.integers(1, 10, _DIGITS)) % 10
    places = np.where(rng.random(_DIGITS) < (0.1 if test else share), labels, others)
    cached = folder / ("digits-test.npz" if test else f"digits-{share:g}.npz")
    if not cached.exists():
        strength = images[..., None] / 255
        painted = (_COLOURS[places][:, None, None] * (1 - strength) + 255 * strength).round()
        large = torch.from_numpy(painted).permute(0, 3, 1, 2).float()
        large = F.interpolate(large, size=(64, 64), mode="bilinear").permute(0, 2, 3, 1)
        _save_features(large.byte().numpy(), cached)
    return _load_features(cached, labels, places, pixels=64)


def _idx(path: Path, header: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def _network(pixels: int) -> Network:
    return build_network(BACKBONE, classes=2, image_size=pixels, pretrained=True)


def _save_features(images: NDArray[np.uint8], path: Path) -> None:
    """Pooled and last features of images (N, S, S, 3). They are pooled only: a cut has axes of its own."""
    network = _network(images.shape[1])
    names = [stage.name for stage in early_stages(network)]
    vectors, last = [], []
    with inputs_of(network.classifier) as inputs, outputs_of(network, names, pool_stage) as outputs:
        for first in range(0, len(images), _BATCH):
            batch = torch.from_numpy(images[first : first + _BATCH]).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode():
                network(batch)
            vectors.append([values.half() for _, values in outputs.take()])
            last.append(inputs.inputs.pop())
    np.savez(
        path, torch.cat(last).numpy(), *(torch.cat(stage).numpy() for stage in zip(*vectors, strict=True))
    )


def _load_features(path: Path, labels: Labels, places: Labels, *, pixels: int) -> Photographs:
    stages = early_stages(_network(pixels))
    with np.load(path) as file:
        vectors = tuple(file[f"arr_{number}"] for number in range(1, 1 + len(stages)))
        return Photographs(labels, places, stages, vectors, file["arr_0"])


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plants", type=Path, nargs="*", default=[], help="zips in the Waterbirds layout")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.98, 0.95, 0.9, 0.8, 0.5])
    parser.add_argument("--swapped", action="store_true", help="exchange class and place")
    parser.add_argument("--mnist", type=Path, help="a folder with MNIST's four idx files")
    parser.add_argument("--cuts", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--gates-only", action="store_true", help="fit no heads")
    add_machine(parser)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
