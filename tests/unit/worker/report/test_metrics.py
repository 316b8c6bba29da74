"""Figures of a report: when the groups of the validation split decide, and whose guesses count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from masktune.contract.vocabulary import Arm, JobKind
from models.data.layout import DatasetInfo
from models.data.store import Store
from models.evaluation.metrics import Logits
from models.run import Run
from models.types import Labels
from tests.support.arrays import Arrays, write_arrays
from worker.context import arm_before
from worker.report.metrics import Figures
from worker.report.recommendation import choose_model, use_step
from worker.stages.seeds import SeedPredictions


@dataclass
class Context:
    """What figures need of a stage's context, on these images."""

    images: Store
    run: Run
    spec: Any

    @property
    def store(self) -> Store:
        return self.images


SHORTCUT, RIGHT = (0, 0, 1, 1), (0, 1, 0, 1)  # what the control and the retrained head answer, by group


@pytest.fixture(scope="module")
def make_context(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """`make_context(splits, labelled=)`: a data set of four groups, of these sizes in each split, without
    copies; groups 0 and 3 have the shortcut of their class. Unless the groups are `labelled`, nobody knows
    them."""
    make = cache(lambda splits, labelled: _store(tmp_path_factory.mktemp("store"), splits, labelled=labelled))

    def make_context(splits: Mapping[str, tuple[int, ...]], *, labelled: bool = True) -> Any:
        store = make(tuple(splits.items()), labelled)
        return Context(store, Run(), SimpleNamespace(kind=JobKind.MITIGATE))

    return make_context


def _store(folder: Path, of_splits: tuple[tuple[str, tuple[int, ...]], ...], *, labelled: bool) -> Store:
    splits = dict(of_splits)
    group = np.concatenate([np.repeat(np.arange(4), sizes) for sizes in splits.values()])
    of_image = [split for split, sizes in splits.items() for _ in range(sum(sizes))]
    images = np.zeros((len(group), 16, 16, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.divmod(np.arange(len(group)), 256)
    info = DatasetInfo("d", "csv", ("a", "b"), tuple("pqrs") if labelled else ())
    known = group if labelled else np.full_like(group, -1)
    return write_arrays(folder, Arrays(images, group % 2, of_image, known), info)


def answering(store: Store, split: str, answers: tuple[int, ...]) -> Logits:
    """The same answer to all images of a group."""
    rows = store.rows(split)
    logits = np.eye(2, dtype=np.float32)[np.array(answers)[store.groups[rows]]]
    return Logits(rows, store.labels[rows], logits)


@pytest.mark.parametrize(
    ("sizes", "decides"), [((40, 3, 3, 40), False), ((40, 0, 0, 40), False), ((40, 12, 12, 40), True)]
)
def test_groups_of_val_decide_only_if_all_of_them_are_large_enough(
    make_context: Callable[..., Any], sizes: tuple[int, ...], decides: bool
) -> None:
    context = make_context({"train": (5, 5, 5, 5), "val": sizes})
    shortcut, right = (answering(context.store, "val", answers) for answers in (SHORTCUT, RIGHT))
    answered = {Arm.ERM: shortcut, Arm.RETRAINED_CONTROL: shortcut, Arm.RETRAINED: right}
    verdicts = Figures(context, {"val": answered}).val_verdicts
    assert {arm: one.verdict for arm, one in verdicts.items()} == (
        {Arm.RETRAINED: "helped"} if decides else {}
    )


@pytest.mark.parametrize("guesses", [False, True])
def test_a_model_that_guesses_with_one_of_the_seeds_leaves_no_verdict(
    make_context: Callable[..., Any], guesses: bool
) -> None:
    context = make_context({"train": (5, 5, 5, 5), "val": (40, 20, 20, 40), "test": (30,) * 4})
    answers = {Arm.ERM: SHORTCUT, Arm.MASKTUNE_CONTROL: SHORTCUT, Arm.MASKTUNE: RIGHT}

    def by_split(of_arm: Mapping[Arm, tuple[int, ...]]) -> dict[str, dict[Arm, Logits]]:
        return {
            split: {arm: answering(context.store, split, of) for arm, of in of_arm.items()}
            for split in ("val", "test")
        }

    of_seed = by_split(answers | {Arm.MASKTUNE: (0, 0, 0, 0)} if guesses else answers)
    predictions = {
        split: {arm: logits.predictions for arm, logits in by_arm.items()}
        for split, by_arm in of_seed.items()
    }
    figures = Figures(context, by_split(answers), [SeedPredictions(7, True, predictions)])
    verdict = figures.verdicts[Arm.MASKTUNE]
    assert verdict.verdict == ("not_testable" if guesses else "helped")
    assert [(one.arm, one.seed) for one in verdict.at_chance] == [(Arm.MASKTUNE, 7)] * guesses
    assert figures.learned(Arm.MASKTUNE)


@pytest.mark.parametrize(("others", "seeds"), [(0, 0), (3, 0), (0, 1)])
def test_a_model_that_helped_may_have_hurt_in_the_groups_of_a_column(
    make_context: Callable[..., Any], others: int, seeds: int
) -> None:
    """A quarter of the images of each group are of site B, where the head is wrong on class a."""
    context = make_context({"train": (5, 5, 5, 5), "val": (40, 20, 20, 40), "test": (60,) * 4})
    store = context.store
    site = np.arange(len(store.labels)) % 4 == 0
    names = tuple(f"{label} · site {value}" for value in "AB" for label in "ab")
    by_site, by_chance = (store.with_groups(names, 2 * of + store.labels) for of in (site, site[::-1]))
    columns = {"site": by_site} | {f"column {number}": by_chance for number in range(others)}
    logits = {split: _with_head(store, split, site) for split in ("val", "test")}
    predictions = {split: {arm: one.predictions for arm, one in of.items()} for split, of in logits.items()}
    further = [SeedPredictions(seed, True, predictions) for seed in range(7, 7 + seeds)]
    figures = Figures(context, logits, further, columns=columns)
    decision = figures.verdicts[Arm.RETRAINED]
    assert (decision.verdict, decision.hurt_by_columns) == ("helped", ["site"])
    assert figures.val_verdicts[Arm.RETRAINED].hurt_by_columns == []
    assert list(figures.by_column) == list(columns)
    of_site = figures.by_column["site"][Arm.RETRAINED]
    assert (of_site.verdict, of_site.against_control, of_site.against_erm) == ("hurt", "below", "below")
    deciding = of_site.deciding_difference
    assert deciding.confidence == pytest.approx(1 - 0.05 / len(columns))
    assert decision.deciding_difference.confidence == 0.95
    assert (deciding.accuracy_a, deciding.accuracy_b) == (0.0, 0.5)
    assert deciding.worst_a == (None if seeds else "a · site B")


def _with_head(store: Store, split: str, site: Labels) -> dict[Arm, Logits]:
    shortcut, right = (answering(store, split, answers) for answers in (SHORTCUT, RIGHT))
    wrong = site[right.rows] & (right.labels == 0)
    head = right._replace(logits=np.where(wrong[:, None], right.logits[:, ::-1], right.logits))
    return {Arm.ERM: shortcut, Arm.RETRAINED_CONTROL: shortcut, Arm.RETRAINED: head}


@pytest.mark.parametrize("divided", [True, False])
def test_a_head_where_no_class_was_divided_gets_no_verdict_on_any_split_or_over_seeds(
    make_context: Callable[..., Any], divided: bool
) -> None:
    context = make_context(GROUPS)
    answers = {Arm.ERM: SHORTCUT, Arm.RETRAINED: RIGHT, Arm.MASKTUNE: RIGHT}
    logits = {
        split: {arm: answering(context.store, split, of) for arm, of in answers.items()}
        for split in ("val", "test")
    }
    predictions = {
        split: {arm: one.predictions for arm, one in by_arm.items()} for split, by_arm in logits.items()
    }
    judged = {Arm.RETRAINED, Arm.MASKTUNE} if divided else {Arm.MASKTUNE}
    for further in ([], [SeedPredictions(7, True, predictions)]):
        figures = Figures(context, logits, further, divided=divided)
        assert figures.verdicts.keys() == figures.val_verdicts.keys() == judged
        assert figures.sections(Arm.RETRAINED)["verdicts"].keys() == judged
        choice = choose_model(figures, None, trained_whole=True)
        assert choice is not None
        assert choice.subject is (Arm.RETRAINED if divided else Arm.MASKTUNE)


@pytest.mark.parametrize(
    ("answers", "sizes", "weak"),
    [
        (SHORTCUT, (40,) * 4, 1),
        (RIGHT, (40,) * 4, None),
        (SHORTCUT, (40, 3, 3, 40), None),
        ((0, 0, 0, 1), (40, 40, 40, 400), 1),
    ],
    ids=["at chance", "right everywhere", "too few to tell", "far below its average"],
)
def test_even_the_best_model_may_be_weak_in_a_group(
    make_context: Callable[..., Any], answers: tuple[int, ...], sizes: tuple[int, ...], weak: int | None
) -> None:
    context = make_context({"train": (9, 2, 5, 7), "test": sizes})
    right, of_arm = (answering(context.store, "test", one) for one in (RIGHT, answers))
    figures = Figures(context, {"test": {Arm.ERM: of_arm, Arm.RETRAINED: right}})
    weak_group = use_step(Arm.ERM, "mdl_1", figures).weak_group
    names = context.store.group_names
    assert (weak_group and weak_group.name) == (None if weak is None else names[weak])
    assert weak_group is None or weak_group.train == dict(zip(names, (9, 2, 5, 7), strict=True))
    assert use_step(Arm.RETRAINED, "mdl_2", figures).weak_group is None


@pytest.mark.parametrize(("lacking", "weak"), [((1, 2), True), ((2,), False)])
def test_a_weakness_shows_only_beside_images_that_lack_the_pattern(
    make_context: Callable[..., Any], lacking: tuple[int, ...], weak: bool
) -> None:
    """Of the inferred group 2 there are too few to show any weakness."""
    context = make_context({"train": (9, 2, 5, 7), "test": (40, 40, 4, 40)})
    right, of_arm = (answering(context.store, "test", one) for one in (RIGHT, (1, *RIGHT[1:])))
    figures = Figures(context, {"test": {Arm.ERM: right, Arm.RETRAINED: of_arm}}, lacking=lacking)
    assert bool(use_step(Arm.RETRAINED, "mdl_1", figures).weak_group) is weak


GROUPS = {"train": (5,) * 4, "val": (40, 20, 20, 40), "test": (40,) * 4}


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (Arm.ERM, (Arm.ERM, Arm.RETRAINED_CONTROL)),
        (Arm.IMPORTED, (Arm.IMPORTED, Arm.RETRAINED_CONTROL)),
        (Arm.MASKTUNE_CONTROL, (Arm.BASELINE, Arm.RETRAINED_CONTROL)),
        (Arm.RETRAINED, (Arm.RETRAINED_CONTROL,)),
        (Arm.MASKTUNE, (Arm.RETRAINED_CONTROL,)),
    ],
)
def test_a_given_model_is_plain_unless_it_was_made_against_a_shortcut(
    make_context: Callable[..., Any], given: Arm, plain: tuple[Arm, ...]
) -> None:
    context, source = make_context(GROUPS), SimpleNamespace(arm=given)
    context.spec = SimpleNamespace(kind=JobKind.RETRAIN_HEAD, model="mdl_1", models={"mdl_1": source})
    before = arm_before(context.spec.models["mdl_1"])
    answers = {before: SHORTCUT, Arm.RETRAINED_CONTROL: SHORTCUT, Arm.RETRAINED: SHORTCUT}
    logits = {"test": {arm: answering(context.store, "test", of_arm) for arm, of_arm in answers.items()}}
    figures = Figures(context, logits)
    assert (figures.before, figures.plain_arms) == (before, plain)


@pytest.mark.parametrize(
    ("erm", "control", "best"),
    [
        ((0.95, 0.84), (0.85, 0.86), Arm.ERM),
        ((0.97, 0.50), (0.90, 0.90), Arm.RETRAINED_CONTROL),
    ],
)
def test_without_groups_of_classes_of_ten_to_one_their_mean_accuracy_decides(
    make_context: Callable[..., Any], erm: tuple[float, float], control: tuple[float, float], best: Arm
) -> None:
    """ERM is right more often in all of these, for nine of ten images are of the first class."""
    sizes = {"train": (10, 10), "val": (400, 40), "test": (400, 40)}
    splits = {split: (*of_classes, 0, 0) for split, of_classes in sizes.items()}
    context = make_context(splits, labelled=False)
    of_arm = {Arm.ERM: erm, Arm.RETRAINED_CONTROL: control, Arm.RETRAINED: control}
    logits = {
        split: {arm: right_in(context.store, split, shares) for arm, shares in of_arm.items()}
        for split in ("val", "test")
    }
    figures = Figures(context, logits)
    choice = choose_model(figures, None, trained_whole=False)
    assert choice is not None
    assert choice.arm is best
    assert {one.statistic for one in choice.differences} == {"balanced_accuracy"}
    assert figures.metrics["test"][Arm.ERM].accuracy > figures.metrics["test"][Arm.RETRAINED_CONTROL].accuracy


def right_in(store: Store, split: str, shares: tuple[float, ...]) -> Logits:
    """The first images of each class are answered rightly, as many as its share."""
    rows = store.rows(split)
    labels = store.labels[rows]
    answers = 1 - labels
    for label, share in enumerate(shares):
        of_class = np.flatnonzero(labels == label)
        answers[of_class[: round(share * len(of_class))]] = label
    return Logits(rows, labels, np.eye(2, dtype=np.float32)[answers])


def test_the_images_of_a_subject_count_as_its_own_in_every_figure(tmp_path: Path) -> None:
    """Twelve images each of 40 subjects, on which both models err: as uncertain as 40 images."""
    subject = np.repeat(np.arange(40), 12)
    labels, splits = subject % 2, ["val"] * 240 + ["test"] * 240
    images = np.zeros((480, 4, 4, 3), np.uint8)
    images[:, 0, 0, :2] = np.stack([np.arange(480) % 256, np.arange(480) // 256], 1)  # no copies
    arrays = Arrays(images, labels, splits, np.full(480, -1))
    info = DatasetInfo("d", "csv", ("a", "b"), ())
    for folder, subjects in (("with", [f"patient {n}" for n in subject]), ("without", ())):
        write_arrays(tmp_path / folder, arrays, info, subjects=subjects)

    def sections(folder: str) -> dict[str, Any]:
        store = Store.open(tmp_path / folder)
        context: Any = SimpleNamespace(run=Run(), store=store, spec=SimpleNamespace(kind=JobKind.MASKTUNE))
        right = {Arm.ERM: subject % 5 > 0, Arm.MASKTUNE: subject % 10 > 0}

        def of(arm: Arm, split: str) -> Logits:
            rows = store.rows(split)
            answers = np.where(right[arm], labels, 1 - labels)[rows]
            return Logits(rows, labels[rows], np.eye(2, dtype=np.float32)[answers])

        logits = {split: {arm: of(arm, split) for arm in right} for split in ("val", "test")}
        return Figures(context, logits).sections(Arm.MASKTUNE)

    counted, ignored = sections("with"), sections("without")
    assert (ignored["verdict"].verdict, counted["verdict"].verdict) == ("helped", "not_testable")
    of_images, of_subjects = (
        (
            of["metrics"]["test"][Arm.ERM],
            of["verdict"].deciding_difference,
            of["disagreement"]["test"],
            of["reliability"]["test"][Arm.ERM],
        )
        for of in (ignored, counted)
    )
    assert {(of.n, of.n_subjects) for of in of_images} == {(240, None)}
    assert {(of.n, of.n_subjects) for of in of_subjects} == {(240, 20)}
    for image, of in zip(of_images[:3], of_subjects[:3], strict=True):
        assert of.high - of.low > 2 * (image.high - image.low)
