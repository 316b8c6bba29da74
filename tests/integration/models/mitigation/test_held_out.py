"""Held-out answers about training images: what is fitted has not seen the images that it is asked about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from masktune.contract.hyperparameters import HeadConfig
from models.mitigation.features import Features
from models.mitigation.held_out import HeldOutAnswers, TrainingImages, answer_held_out, answer_without
from models.run import Progress, Run
from models.types import Bools, Labels
from tests.integration.models.mitigation.test_finder import STAGES, biased
from tests.support.seeds import shifted

pytestmark = pytest.mark.trains

CONFIG = HeadConfig(judge_penalties=(0.1,), penalties=(1.0, 0.01), folds=2, repeats=1)
CLASSES = ("class 0", "class 1")
LABELS, PLACES = biased(majority=150, minority=25)
HELD = np.arange(len(LABELS)) % 5 == 0


def training_images(labels: Labels = LABELS, places: Labels = PLACES) -> TrainingImages:
    """Early features follow the place; the last ones follow the class, and the place more."""
    rng, count = np.random.default_rng(shifted(0)), len(labels)
    centres = rng.normal(size=(2, 2, 8))

    def draw(of_class: float, of_place: float) -> np.ndarray:
        signal = np.concatenate([of_class * centres[0][labels], of_place * centres[1][places]], 1)
        return (signal + rng.normal(size=signal.shape)).astype(np.float32)

    pooled = [draw(0.1, 3.0) for _ in STAGES]
    last = Features(np.arange(count), labels, draw(0.7, 2.0), np.zeros((count, 2), np.float32))
    return TrainingImages(last, STAGES, pooled, np.arange(count), np.arange(count))


def without(images: TrainingImages, held: Bools = HELD) -> HeldOutAnswers:
    answers = answer_without(images, held, CONFIG, Run(seed=shifted(0)), classes=CLASSES)
    assert answers is not None
    return answers


def test_every_image_is_answered_and_the_balanced_head_is_better_where_the_pattern_lacks() -> None:
    reports: list[Progress] = []
    run = Run(seed=shifted(0), on_progress=reports.append)
    answers = answer_held_out(training_images(), CONFIG, run, classes=CLASSES)
    assert answers is not None
    labels, places = LABELS[answers.rows], PLACES[answers.rows]
    assert sorted(answers.rows) == list(range(len(LABELS)))
    lacking = answers.patterns != labels
    assert (lacking == (labels != places)).mean() > 0.97
    erm, retrained, control = (
        (predictions == labels)[lacking].mean()
        for predictions in (answers.erm, answers.retrained, answers.retrained_control)
    )
    assert retrained > max(erm, control) + 0.1
    assert [report.step for report in reports if not report.epoch] == [0, 1, 2, 3, 4]
    again = answer_held_out(training_images(), CONFIG, Run(seed=shifted(0)), classes=CLASSES)
    assert again is not None
    for column, once_more in zip(answers, again, strict=True):
        np.testing.assert_array_equal(column, once_more)


def test_the_labels_of_held_out_images_change_no_answer_about_them() -> None:
    images = training_images()
    flipped = replace(images, last=replace(images.last, labels=np.where(HELD, 1 - LABELS, LABELS)))
    before, after = without(images)._asdict(), without(flipped)._asdict()
    for name in before.keys() - {"label_doubt"}:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)


def test_nothing_is_fitted_to_held_out_images() -> None:
    """Neither axes nor heads: else the answers about one half of them would depend on the other half."""
    images, changed = training_images(), HELD & (np.arange(len(LABELS)) % 2 == 0)
    last = replace(images.last, values=np.where(changed[:, None], 99.0, images.last.values))
    pooled = [np.where(changed[:, None], 99.0, values).astype(np.float32) for values in images.pooled]
    other = replace(images, last=last, pooled=pooled)
    unchanged = ~changed[HELD]
    for column, of_other in zip(without(images), without(other), strict=True):
        np.testing.assert_array_equal(column[unchanged], of_other[unchanged])
    axes, of_other_axes = (one.stage_features(~HELD).axes for one in (images, other))
    for one, another in zip(axes, of_other_axes, strict=True):
        assert one.weight.equal(another.weight)


def test_where_the_other_folds_name_no_groups_there_are_no_answers() -> None:
    closed = replace(CONFIG, gate="closed")
    assert answer_held_out(training_images(), closed, Run(seed=shifted(0)), classes=CLASSES) is None


@pytest.mark.parametrize("of_one_subject", [0, 1])
def test_a_class_of_one_subject_is_held_out_whole_and_has_no_answers(of_one_subject: int) -> None:
    images = training_images()
    clusters = np.where(of_one_subject == LABELS, 0, np.arange(len(LABELS)) + 1)
    answers = answer_held_out(
        replace(images, clusters=clusters), CONFIG, Run(seed=shifted(0)), classes=CLASSES
    )
    assert answers is None or of_one_subject not in LABELS[answers.rows]
