"""Accuracies on images that lack the pattern of their class and on others: in another mix, and held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masktune.contract.vocabulary import Arm
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.mitigation.held_out import HeldOutAnswers
from models.mitigation.pattern_groups import pattern_groups
from models.statistics import mean_share
from tests.support.arrays import Arrays, write_arrays
from worker.report.inferred import held_out_accuracies, mix_points
from worker.stages.infer_groups import too_few_lacking

HAS_PATTERN = np.repeat([False, True], [40, 60])
RIGHT = np.concatenate([np.repeat([True, False], [20, 20]), np.repeat([True, False], [54, 6])])


def test_it_is_the_mean_of_both_parts_weighted_by_the_share() -> None:
    points = mix_points(RIGHT, HAS_PATTERN, None)
    assert [point.share for point in points][::6] == [0.05, 0.35, 0.65, 0.95]
    for point in points:
        assert point.accuracy == pytest.approx(0.5 * point.share + 0.9 * (1 - point.share))
        assert (point.low, point.high) == mean_share([(20, 40), (54, 60)], [point.share, 1 - point.share])


def test_images_of_one_subject_widen_its_interval() -> None:
    clusters = np.arange(len(RIGHT)) // 10  # ten images each, nearly all answered alike
    for alone, together in zip(
        mix_points(RIGHT, HAS_PATTERN, None), mix_points(RIGHT, HAS_PATTERN, clusters), strict=True
    ):
        assert alone.accuracy == together.accuracy
        assert together.high - together.low > alone.high - alone.low


def store(folder: Path, labels: list[int], split: str, *, copies: int = 1, patients: int = 0) -> Store:
    """Images, `copies` of each, of so many patients by turns."""
    numbers = np.arange(len(labels)) // copies
    images = np.repeat(numbers.astype(np.uint8), 48).reshape(-1, 4, 4, 3)
    return write_arrays(
        folder / "store",
        Arrays(images, np.array(labels), [split] * len(labels)),
        DatasetInfo("x", "y", ("a", "b")),
        subjects=[f"patient {number % patients}" for number in numbers] if patients else [],
    )


def test_held_out_accuracies_are_of_the_images_with_an_answer(tmp_path: Path) -> None:
    """Four lack the pattern and three show it; of two whose labels look wrong, no head answers one as
    labelled."""
    labels = [0, 0, 0, 0, 1, 1, 1, 1]
    answers = HeldOutAnswers(
        rows=np.array([0, 1, 2, 4, 5, 6, 7]),
        patterns=np.array([1, 0, 0, 0, 1, 0, 0]),
        label_doubt=np.array([0.0, 0.0, 0.0, 0.9, 0.0, 0.9, 0.0]),
        erm=np.array([1, 0, 0, 0, 1, 0, 0]),
        retrained=np.array([0, 0, 1, 1, 1, 0, 0]),
        retrained_control=np.array([1, 0, 0, 0, 1, 0, 0]),
    )
    held_out = held_out_accuracies(answers, store(tmp_path, labels, "train"))
    assert (held_out.n, held_out.lacking.n, held_out.rest.n) == (7, 3, 3)
    correct = {
        arm: (one.correct, held_out.rest.accuracies[arm].correct)
        for arm, one in held_out.lacking.accuracies.items()
    }
    assert correct == {Arm.ERM: (0, 3), Arm.RETRAINED: (2, 2), Arm.RETRAINED_CONTROL: (0, 3)}


@pytest.mark.parametrize(
    ("lacking", "copies", "patients", "too_few"),
    [
        (10, 1, 0, False),
        (9, 1, 0, True),
        (0, 1, 0, True),
        (10, 2, 0, True),
        (20, 2, 0, False),
        (10, 1, 9, True),
    ],
    ids=["ten", "nine", "none", "ten, five of them copies", "twenty, ten of them copies", "of nine patients"],
)
def test_ten_distinct_test_images_of_a_class_must_lack_its_pattern(
    tmp_path: Path, lacking: int, copies: int, patients: int, too_few: bool
) -> None:
    labels = np.repeat([0, 1], [40, 40])
    patterns = np.where(np.arange(80) < lacking, 1, labels)
    groups = pattern_groups(labels, patterns, ("a", "b"))
    opened = store(tmp_path, labels.tolist(), "test", copies=copies, patients=patients)
    assert too_few_lacking(opened, groups) is too_few
