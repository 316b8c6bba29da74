"""The precision of inferred groups, by a person's answers: from the drawn images alone, with its bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from app.reports.image_answers import guess_precision, needed
from masktune.contract.image_answers import ImageAnswer
from masktune.contract.report import Report
from masktune.contract.report.inferred import GuessPrecision
from masktune.contract.vocabulary import Arm
from tests.support.reports import early_stage_groups, report
from tests.support.tails import at_least

DRAWN = list(range(20))
CANDIDATES = list(range(40))


def proportion(correct: int, n: int) -> dict[str, Any]:
    return {"n": n, "correct": correct, "accuracy": correct / max(n, 1), "low": 0.0, "high": 1.0}


def reported(
    *,
    decide: bool = True,
    lacking: int = 30,
    n: int = 50,
    rest: int = 90,
    candidates: Sequence[int] = CANDIDATES,
    drawn: Sequence[int] = DRAWN,
) -> Report:
    """`lacking` of the `n` test images without the pattern are answered right, `rest` of 100 with it."""
    parts = {"lacking": (lacking, n), "rest": (rest, 100)}
    test: dict[str, Any] = {
        part: {"n": of, "accuracies": {"erm": proportion(right, of)}} for part, (right, of) in parts.items()
    }
    inferred = {
        "decide": decide,
        "model": "mdl_1",
        "stage": "layer2",
        "reason": "stages_agree",
        "splits": {"test": test | {"n": n + 100, "labels_look_wrong": 0}},
    }
    groups = early_stage_groups(
        "stages_agree", stage="layer2", candidates=list(candidates), random_candidates=list(drawn)
    )
    return Report.model_validate(report() | {"inferred_groups": inferred, "groups": groups.model_dump()})


def answers(lacking: int) -> list[ImageAnswer]:
    """All candidates are answered; of the drawn ones, the first `lacking` are said to lack the pattern."""
    return [ImageAnswer(sample=one, lacks_pattern=one < lacking or one >= 20) for one in CANDIDATES]


def precision(of: Report, lacking: int) -> GuessPrecision:
    section = guess_precision(of, answers(lacking))
    assert section is not None
    return section


@pytest.mark.parametrize(("drawn", "enough"), [(25, 18), (15, 12), (10, 9), (6, 6)])
def test_a_verdict_rests_on_answers_that_show_half_of_the_guess_to_be_right(drawn: int, enough: int) -> None:
    candidates = list(range(50))
    of = reported(candidates=candidates, drawn=candidates[:drawn])
    for lacking in range(drawn + 1):
        of_drawn: dict[int, bool | None] = {one: one < lacking for one in range(drawn)}
        surest: dict[int, bool | None] = dict.fromkeys(candidates[drawn:], True)
        assert needed(of, of_drawn | surest) == (0 if lacking >= enough else None)
        assert needed(of, surest) == 6  # of 6


def test_what_is_needed_counts_only_images_that_nobody_has_answered() -> None:
    of = reported(candidates=list(range(50)), drawn=list(range(25)))
    by_answers = {n: {one: one < 10 for one in range(n)} for n in (14, 16, 18)}
    assert needed(of, by_answers[14]) == 3  # 13 of 17
    assert needed(of, by_answers[16]) == 7  # 17 of 23
    assert needed(of, by_answers[18]) is None  # 17 of 25 would not do


def test_where_all_such_images_are_listed_the_share_itself_decides() -> None:
    of = reported(candidates=[1, 2, 3, 4], drawn=[1, 2, 3, 4])
    assert needed(of, {1: True, 2: True, 3: False, 4: False}) == 0
    assert needed(of, {1: True, 2: False, 3: False}) == 1
    assert needed(of, {1: True, 2: False, 3: False, 4: False}) is None
    assert needed(of, {1: True, 2: None}) is None  # three of four is no bound of at least a half
    assert needed(reported(candidates=[1, 2], drawn=[]), {1: True}) is None


def test_only_the_drawn_images_count_and_the_bound_is_exact() -> None:
    section = precision(reported(), 18)
    assert (section.answers, section.lacking) == (20, 18)
    assert at_least(18, 20, section.low) == pytest.approx(0.025)


def test_the_accuracy_at_the_bound_mixes_back_to_the_one_measured() -> None:
    section = precision(reported(), 20)
    at_bound = section.at_bound[Arm.ERM]
    assert section.low * at_bound + (1 - section.low) * 0.9 == pytest.approx(0.6)
    assert at_bound < 0.6


@pytest.mark.parametrize(("right", "rest", "clipped"), [(0, 90, 0.0), (50, 10, 1.0)])
def test_an_accuracy_stays_a_share(right: int, rest: int, clipped: float) -> None:
    assert precision(reported(lacking=right, rest=rest), 12).at_bound == {"erm": clipped}


def test_without_a_true_guess_or_a_test_image_there_is_no_accuracy() -> None:
    none_lacks = precision(reported(), 0)
    assert (none_lacks.low, none_lacks.at_bound) == (0.0, {})
    assert precision(reported(lacking=0, n=0), 18).at_bound == {}


def test_no_precision_without_answers_on_drawn_images_or_where_the_groups_do_not_decide() -> None:
    surest = [one for one in answers(20) if one.sample not in DRAWN]
    assert guess_precision(reported(), surest) is None
    assert guess_precision(reported(decide=False), answers(20)) is None
    assert guess_precision(Report.model_validate(report()), answers(20)) is None
