"""Figures and sentences, as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from masktune import Dataset, Model, OwnKey
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
    ("kind", "params", "said"),
    [
        (
            "mask",
            {"masking": {"method": "xgradcam", "sigmas": 2.0}},
            "above mean + 2 standard deviations in every training image (method: XGrad-CAM).",
        ),
        (
            "mask",
            {"masking": {"method": "xgradcam", "sigmas": "auto"}},
            "Masks as little as hides what the model uses in every training image (method: XGrad-CAM).",
        ),
        (
            "mask",
            {"masking": {"method": "random", "share": 0.1}},
            "Masks the most salient 10\u00a0% of pixels in every training image (method: random places).",
        ),
        ("predict", {"split": "test", "output": "csv"}, "as csv; policy: always answer."),
        ("predict", {"split": "all", "output": "csv"}, "every image as csv; policy: always answer."),
        (
            "predict",
            {"split": "val", "output": "csv", "max_risk": 0.05},
            "policy: limit the share of wrong answers: 5.0\u00a0%.",
        ),
        ("erm", {"epochs": 3}, ""),
    ],
)
def test_a_job_without_training_is_described_in_a_sentence(
    kind: str, params: dict[str, object], said: str
) -> None:
    assert labels.job_description(kind, params).endswith(said)


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


def test_a_model_is_labelled_with_its_data_set() -> None:
    model = Model(
        id="mdl_01abcdef",
        dataset="ds_1",
        job="job_1",
        arm="masktune",
        backbone="resnet18",
        classes=["a", "b"],
        image_size=28,
        created_at=NOW,
    )
    names, verdicts = {"ds_1": "birds"}, {"job_1": "MaskTune helped"}
    date = f"{NOW:%Y-%m-%d}"
    label = labels.model_label(model, names, verdicts)
    assert label == f"birds · MaskTune · {date} · MaskTune helped · resnet18 · abcdef"
    pilot = model.model_copy(update={"name": "pilot"})
    assert labels.model_label(pilot, {}, {}) == f"MaskTune: pilot · {date} · resnet18 · abcdef"
    assert labels.shorten("b" * 41) == "b" * 39 + "…"


@pytest.mark.parametrize(
    ("own", "text"),
    [
        (OwnKey(id="key_1", name="line 1", scopes=[]), "Key: line 1"),
        (OwnKey(id="user:alice", name="alice", scopes=[]), "alice"),
        (OwnKey(scopes=["admin"]), "Key: the operator’s"),
    ],
)
def test_who_is_in_is_named(own: OwnKey, text: str) -> None:
    assert labels.visitor(own) == text
