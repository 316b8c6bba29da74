"""The heads of a stage judge a subject, or a picture, without having seen any of its images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from masktune.contract.hyperparameters import HeadConfig
from models.backbones.build import build_network
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.mitigation.features import Features
from models.mitigation.groups import class_groups
from models.mitigation.retrain import retrain_head
from models.mitigation.stage_features import Axes, StageFeatures
from models.mitigation.stages import Stage
from models.run import Progress, Run
from tests.support.arrays import Arrays, write_arrays
from tests.support.seeds import shifted
from worker.context import StageContext
from worker.networks.features import FITS, Passes
from worker.stages.retrain_head import balanced_groups, fit_head

pytestmark = pytest.mark.trains

SUBJECTS, WIDTH = 60, 256  # what SmallCNN's last layer sees
ROWS = np.arange(2 * SUBJECTS)
LABELS = ROWS // 2 % 2


def context(folder: Path, groups: str, *, pairs: str = "subjects") -> StageContext:
    """Sixty `subjects` of two different images each, as many `copies` of sixty images, or `none` of both."""
    subjects = pairs == "subjects"
    images = np.random.default_rng(shifted(0)).integers(0, 256, (len(ROWS), 4, 4, 3)).astype(np.uint8)
    if pairs == "copies":
        images[1::2] = images[::2]
    write_arrays(
        folder / "store",
        Arrays(images, LABELS, ["train"] * len(ROWS)),
        DatasetInfo("x", "y", ("a", "b")),
        subjects=[f"patient {row // 2}" for row in ROWS] if subjects else [],
    )
    config = HeadConfig(judge_penalties=(0.1,), penalties=(0.1,), folds=2, repeats=1, gate="open")
    retraining = SimpleNamespace(head=config, groups=groups)
    store = Store.open(folder / "store")
    context = SimpleNamespace(
        store=store,
        run=Run(seed=shifted(0)),
        retraining=retraining,
        answers={},
        right_labels=[],
        spec=SimpleNamespace(done={}),
    )
    return cast(StageContext, context)


def features() -> Features:
    """Noise, which no class follows, but the same for both images of a subject."""
    noise = np.random.default_rng(shifted(1)).normal(size=(SUBJECTS, WIDTH)).astype(np.float32)
    return Features(ROWS, LABELS, noise[ROWS // 2], np.zeros((len(ROWS), 2), np.float32))


def stages() -> StageFeatures:
    names = tuple(Stage(name, 8, 4) for name in ("shallow", "deep"))
    last = features()
    early = last.values[:, :32].astype(np.float16)
    axes = Axes(torch.eye(32), torch.zeros(32))
    return StageFeatures(last, names, (early, early), (axes, axes))


@pytest.mark.parametrize(
    ("source", "pairs"),
    [("cross_mistakes", "subjects"), ("early_stages", "subjects"), ("early_stages", "copies")],
)
def test_both_images_of_a_subject_or_of_a_picture_are_judged_alike(
    tmp_path: Path, source: str, pairs: str
) -> None:
    stage_context = context(tmp_path, source, pairs=pairs)
    groups = balanced_groups(stage_context, stages(), Passes(stage_context.run, FITS))
    assert groups.inferred
    assert np.array_equal(groups.assigned[::2], groups.assigned[1::2])
    assert 0.3 < (groups.assigned % 2).mean() < 0.7  # half are mistakes, as of a coin


@pytest.mark.parametrize("pairs", ["subjects", "copies"])
def test_a_retrained_head_is_no_better_than_a_coin_at_what_it_has_not_seen(
    tmp_path: Path, pairs: str
) -> None:
    stage_context = context(tmp_path, "labels", pairs=pairs)
    network = build_network("small_cnn", classes=2, image_size=16)
    passes = Passes(stage_context.run, 1)
    head = fit_head(stage_context, network, features(), class_groups(LABELS, ("a", "b")), passes)
    assert 0.3 < (head.held_out == LABELS).mean() < 0.7


def test_without_subjects_the_weights_are_those_of_independent_images(tmp_path: Path) -> None:
    """Bit for bit: figures of earlier versions stay."""
    stage_context = context(tmp_path, "labels", pairs="none")
    network, groups = build_network("small_cnn", classes=2, image_size=16), class_groups(LABELS, ("a", "b"))
    passes = Passes(stage_context.run, 1)
    head = fit_head(stage_context, network, features(), groups, passes)
    plain = retrain_head(
        network, features(), groups, stage_context.retraining.head, seed=stage_context.run.seed
    )
    assert np.array_equal(head.head.weight, plain.head.weight)
    assert np.array_equal(head.held_out, plain.held_out)
    assert head.candidates == plain.candidates


@pytest.mark.parametrize("what", ["groups", "head"])
def test_what_is_done_rises_while_heads_are_fitted(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.run._REPORT_SECONDS", 0.0)
    reports: list[Progress] = []
    stage_context = context(tmp_path, "early_stages")
    passes = Passes(Run(on_progress=reports.append), FITS)
    if what == "groups":
        balanced_groups(stage_context, stages(), passes)
    else:
        network, groups = (
            build_network("small_cnn", classes=2, image_size=16),
            class_groups(LABELS, ("a", "b")),
        )
        fit_head(stage_context, network, features(), groups, passes)
    shares = [report.step / report.steps for report in reports]
    assert shares == sorted(shares)
    assert len({share for share in shares if share < 1}) > 10
