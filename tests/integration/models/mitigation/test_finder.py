"""The finder: it opens where early stages agree on a minority, stays closed elsewhere, and says why."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from masktune.contract.hyperparameters import HeadConfig
from masktune.contract.report.groups import EarlyStageDetails, GroupReason
from models.mitigation.features import Features, HeadError
from models.mitigation.finder import MAX_CLASSES, infer_minority, jaccard
from models.mitigation.minority import Minority, Reason
from models.mitigation.stage_features import StageFeatures, principal_coordinates
from models.mitigation.stages import Stage
from tests.support.seeds import shifted

pytestmark = pytest.mark.trains

CONFIG = HeadConfig(judge_penalties=(0.1,))
STAGES = tuple(Stage(name, 8, side) for name, side in (("shallow", 16), ("middle", 8), ("deep", 4)))


def stage_features(
    labels: NDArray[np.int64],
    places: NDArray[np.int64],
    *,
    early: tuple[float, float] = (0.1, 3.0),
    last: tuple[float, float] = (1.0, 2.0),
    seed: int = 0,
    true: NDArray[np.int64] | None = None,
) -> StageFeatures:
    """Half of the features follow the class, half the place, by the strengths (class, place) over noise 1.
    `true` classes are those of images of which some have a wrong label. Any two of the first eight classes or
    places are equally far apart, whatever the seed."""
    rng, classes = np.random.default_rng(shifted(seed)), int(labels.max()) + 1
    centres = np.sqrt(8) * np.eye(classes, 8)
    parts = labels if true is None else true, places

    def draw(strengths: tuple[float, float]) -> NDArray[np.float32]:
        signal = [strength * centres[part] for strength, part in zip(strengths, parts, strict=True)]
        both = np.concatenate(signal, 1)
        return (both + rng.normal(size=both.shape)).astype(np.float32)

    logits = np.zeros((len(labels), classes), np.float32)
    axes, by_batch = principal_coordinates(iter([[torch.from_numpy(draw(early)) for _ in STAGES]]))
    (coordinates,) = by_batch
    return StageFeatures(
        Features(np.arange(len(labels)), labels, draw(last), logits),
        STAGES,
        tuple(part.numpy() for part in coordinates),
        axes,
    )


def biased(
    *, classes: int = 2, majority: int = 150, minority: int = 15
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(labels, places): of each class `majority` samples at its place, `minority` at the next class's."""
    labels = np.repeat(np.arange(classes), majority + minority)
    late = np.tile(np.arange(majority + minority) >= majority, classes)
    return labels, (labels + late) % classes


def infer(
    features: StageFeatures,
    *,
    pictures: NDArray[np.int64] | None = None,
    clusters: NDArray[np.int64] | None = None,
    config: HeadConfig = CONFIG,
    right_labels: Collection[int] = (),
) -> Minority:
    classes = [f"class {number}" for number in range(features.last.classes)]
    return infer_minority(
        features,
        config,
        classes=classes,
        seed=shifted(0),
        pictures=pictures,
        clusters=clusters,
        right_labels=right_labels,
    )


@pytest.mark.parametrize("classes", [2, 5])
def test_early_stages_that_agree_name_the_minority(classes: int) -> None:
    labels, places = biased(classes=classes)
    minority = infer(stage_features(labels, places))
    assert (minority.is_open, minority.reason, minority.stage) == (True, "stages_agree", "deep")
    assert minority.groups.doubt is None
    assert len(minority.groups.names) == 2 * classes
    flagged = minority.groups.assigned % 2 == 1
    assert jaccard(flagged, labels != places) > 0.8
    (agreement,) = minority.agreements
    assert (agreement.shallow, agreement.deep) == ("middle", "deep")
    assert agreement.jaccard >= agreement.required


def test_a_deepest_stage_that_disagrees_leaves_the_word_to_the_pair_before_it() -> None:
    labels, places = biased()
    features = stage_features(labels, places)
    noise = np.random.default_rng(shifted(1)).normal(size=features.early[2].shape).astype(np.float16)
    minority = infer(replace(features, early=(*features.early[:2], noise)))
    assert (minority.reason, minority.stage) == ("stages_agree", "middle")
    assert len(minority.agreements) == 2


def test_stages_that_agree_but_get_too_many_wrong_are_not_said_to_disagree() -> None:
    labels, places = biased(majority=110, minority=32)
    more = np.where(np.arange(len(labels)) % 10 == 0, (labels + 1) % 2, places)
    deep, others = stage_features(labels, places), stage_features(labels, more)
    minority = infer(replace(deep, early=(*others.early[:2], deep.early[2])))
    assert all(pair.jaccard >= pair.required for pair in minority.agreements)
    assert (minority.is_open, minority.reason) == (False, "too_many_mistakes")


def test_without_a_shortcut_the_gate_stays_closed() -> None:
    labels, _ = biased()
    places = np.random.default_rng(shifted(0)).permutation(labels)
    minority = infer(stage_features(labels, places, early=(0.3, 3.0)))
    assert not minority.is_open
    assert minority.groups.counts == {"class 0": 165, "class 1": 165}


def test_a_class_that_early_stages_see_leaves_the_word_to_the_last_features() -> None:
    labels, places = biased(minority=20)
    minority = infer(stage_features(labels, places, early=(4.0, 0.0), last=(0.2, 4.0)))
    assert (minority.reason, minority.stage) == ("class_is_low_level", None)
    assert minority.groups.doubt is not None
    assert jaccard(minority.groups.doubt > 0.5, labels != places) > 0.8


def test_features_that_tell_the_class_well_have_no_minority() -> None:
    labels, places = biased()
    minority = infer(stage_features(labels, places, early=(4.0, 0.0), last=(4.0, 0.0)))
    assert minority.reason == "too_few_mistakes"


def test_a_class_without_a_flagged_image_is_left_whole() -> None:
    labels, places = biased(classes=3)
    places[labels == 2] = 2
    minority = infer(stage_features(labels, places, early=(0.0, 8.0)))
    assert minority.is_open
    assert len(minority.groups.names) == 5
    assert minority.groups.names[-1] == "class 2"


def test_a_report_can_read_the_reason_from_the_groups() -> None:
    open_, closed = (
        infer(stage_features(*biased(minority=minority), early=early)).explained_groups()
        for minority, early in ((15, (0.1, 3.0)), (0, (4.0, 0.0)))
    )
    details = EarlyStageDetails.model_validate(open_.details)
    assert (open_.source, open_.inferred, details.reason) == ("early_stages", True, "stages_agree")
    assert details.stage == "deep"
    assert details.agreements[0].jaccard >= details.agreements[0].required
    assert details.flagged[-1] == details.agreements[0].flagged_deep
    details = EarlyStageDetails.model_validate(closed.details)
    assert (closed.source, closed.inferred, details.stage) == ("early_stages", False, None)
    assert details.reason == "too_few_mistakes"
    assert set(get_args(GroupReason)) == set(get_args(Reason))


@pytest.mark.parametrize("count", [2, 5])
def test_a_few_images_a_class_have_too_few_mistakes(count: int) -> None:
    labels, places = biased(majority=count, minority=0)
    assert infer(stage_features(labels, places)).reason == "too_few_mistakes"


def test_copies_count_once() -> None:
    """Nine copies of one mistake are no minority."""
    labels, places = biased(minority=1)
    copies = np.r_[np.arange(len(labels)), np.repeat(np.flatnonzero(labels != places), 9)]
    features = stage_features(labels, places)
    last = replace(
        features.last,
        rows=np.arange(len(copies)),
        **{name: getattr(features.last, name)[copies] for name in ("labels", "values", "logits")},
    )
    copied = replace(features, last=last, early=tuple(values[copies] for values in features.early))
    minority = infer(copied, pictures=copies)
    assert minority.reason == "too_few_mistakes"
    assert minority.agreements[0].flagged_deep < 10


def test_the_mistakes_of_two_subjects_are_no_minority_but_are_counted_as_images() -> None:
    labels, places = biased()
    features = stage_features(labels, places)
    minority = labels != places
    clusters = np.where(minority, len(labels) + labels, np.arange(len(labels)))
    assert infer(features).reason == "stages_agree"
    inferred = infer(features, clusters=clusters)
    assert inferred.reason == "too_few_mistakes"
    assert inferred.agreements[0].flagged_deep > 20
    assert np.isin(np.flatnonzero(minority), inferred.candidates).sum() > 10


def test_subjects_that_each_have_one_mistake_are_not_too_many_mistakes() -> None:
    """The share of mistakes is one of images: of a subject, most are judged right."""
    labels, places = biased()
    clusters = 15 * labels + np.arange(len(labels)) % 15
    assert np.bincount(clusters[labels != places]).tolist() == [1] * 30
    assert infer(stage_features(labels, places), clusters=clusters).reason == "stages_agree"


def test_more_classes_than_were_measured_get_the_control() -> None:
    labels, places = biased(classes=MAX_CLASSES + 1, majority=2, minority=0)
    minority = infer(stage_features(labels, places))
    assert (minority.is_open, minority.reason) == (False, "too_many_classes")


def test_a_network_with_one_stage_gets_the_control() -> None:
    features = stage_features(*biased())
    minority = infer(replace(features, stages=STAGES[:1], early=features.early[:1]))
    assert minority.reason == "too_few_stages"


def test_features_that_are_no_numbers_are_refused() -> None:
    features = stage_features(*biased())
    features.early[2][3, 0] = np.nan
    with pytest.raises(HeadError, match="finite"):
        infer(features)


def test_another_seed_names_nearly_the_same_minority() -> None:
    labels, places = biased()
    features = stage_features(labels, places)
    first, second = (
        infer_minority(features, CONFIG, classes=("a", "b"), seed=seed).groups.assigned % 2 == 1
        for seed in (shifted(0), shifted(1))
    )
    assert jaccard(first, second) > 0.8


@pytest.mark.parametrize("early", [(0.1, 3.0), (4.0, 0.1)], ids=["an early stage", "the last features"])
def test_what_a_person_said_of_single_images_holds_for_them_and_their_copies(
    early: tuple[float, float],
) -> None:
    labels, places = biased()
    features = stage_features(labels, places, early=early, last=(0.5, 2.0))
    rows = 1000 + 2 * np.arange(len(labels))
    features = replace(features, last=replace(features.last, rows=rows))
    config = replace(CONFIG, gate="open")

    def minority(answers: dict[int, bool]) -> Minority:
        pictures = np.arange(len(labels))
        pictures[11] = pictures[10]  # of the same class
        return infer_minority(
            features, config, classes=("a", "b"), seed=shifted(0), pictures=pictures, answers=answers
        )

    judged = minority({})
    assert (judged.stage is None) is (early[0] > 1)
    flags = judged.groups.assigned % 2 == 1
    assert labels[10] == labels[11]
    wrong = int(np.flatnonzero(flags & (np.arange(len(labels)) > 11))[0])
    answers = {int(rows[10]): not flags[10], int(rows[wrong]): False, 7: True}
    corrected = minority(answers)
    expected = flags.copy()
    expected[[10, 11]], expected[wrong] = not flags[10], False
    assert (corrected.groups.assigned % 2 == 1).tolist() == expected.tolist()
    assert int(rows[wrong]) not in corrected.candidates
    members = corrected.groups.memberships(labels)
    assert members[[10, 11, wrong]].max(1).tolist() == [1, 1, 1]  # no doubt is left
    assert (corrected.reason, corrected.stage) == (judged.reason, judged.stage)
