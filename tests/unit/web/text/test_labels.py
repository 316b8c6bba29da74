"""Figures as people read them. Sentences are in `tests/golden_texts`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from masktune import Dataset
from masktune.contract.report.text import formats
from masktune.contract.vocabulary import STAGE_NAMES, STAGES
from web.text import labels

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.3, "under 1 s"),
        (59.4, "59 s"),
        (200, "3 min 20 s"),
        (1500, "25 min"),
        (7500, "2 h 5 min"),
        (200_000, "2 days 7 h"),
    ],
)
def test_durations_use_their_two_largest_units(seconds: float, said: str) -> None:
    assert formats.duration(seconds) == said


@pytest.mark.parametrize(
    ("before", "said"), [(5, "just now"), (61, "1 minute ago"), (7300, "2 hours ago"), (90_000, "1 day ago")]
)
def test_ages_use_their_largest_unit(before: int, said: str) -> None:
    assert labels.ago(NOW - timedelta(seconds=before), NOW) == said


def test_a_missing_figure_is_a_dash() -> None:
    shown = [formats.percent(None), formats.duration(None), formats.byte_size(None)]
    assert [*shown, labels.number(None), labels.ago(None)] == ["–"] * 5


@pytest.mark.parametrize(
    ("count", "text"),
    [(999, "999 B"), (32_000, "32 kB"), (35e6, "35 MB"), (1.44e9, "1.4 GB"), (20 * 2**30, "21.5 GB")],
)
def test_sizes_use_their_largest_unit(count: float, text: str) -> None:
    assert formats.byte_size(count) == text.replace(" ", "\u00a0")


def test_every_kind_and_every_stage_has_a_name() -> None:
    assert {stage for stages in STAGES.values() for stage in stages} <= STAGE_NAMES.keys()
    assert labels.KINDS.keys() == STAGES.keys()


@pytest.mark.parametrize(
    ("count", "said"), [(1, "1 file was"), (0, "0 files were"), (1200, "1,200 files were")]
)
def test_a_count_has_the_noun_in_the_right_number(count: int, said: str) -> None:
    assert labels.count_of(count, "file was", "files were") == said


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"strength": "strong", "findings": [{}]}, ("bad", "strong")),
        ({"strength": "none", "findings": [{}]}, ("good", "none")),
        ({"strength": "none", "findings": []}, ("unsure", "not judged")),
        ({"strength": "none", "findings": [{}], "metadata": None}, ("good", "none")),
        ({"strength": "none", "findings": [{}], "metadata": {"strength": "none"}}, ("good", "none")),
        ({"strength": "none", "findings": [{}], "metadata": {"strength": "strong"}}, ("unsure", "metadata")),
    ],
)
def test_an_import_is_not_said_to_be_free_of_what_was_not_judged_or_is_in_its_metadata(
    seen: dict[str, object], said: tuple[str, str]
) -> None:
    assert labels.shortcut(seen)[:2] == said


def test_only_splits_with_images_are_listed() -> None:
    splits = {"only_bg_t": 40, "test": 9, "train": 3, "val": 0, "another": 1}
    dataset = Dataset(
        id="ds_1", name="birds", state="ready", format="csv", splits=splits, created_at=datetime.now(UTC)
    )
    assert labels.splits_of(dataset) == ["train", "test", "only_bg_t"]


def test_every_split_of_the_service_has_a_label() -> None:
    from models.data.splits import ALL_SPLITS

    assert set(labels.SPLITS) == set(ALL_SPLITS)


def test_a_long_name_is_cut() -> None:
    assert labels.shorten("b" * 40) == "b" * 40
    assert labels.shorten("b" * 41) == "b" * 39 + "…"
