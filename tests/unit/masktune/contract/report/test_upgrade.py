"""Reports of earlier versions are read as this version's."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from masktune.contract.report import VERSION, Report, read_report, upgrade
from masktune.contract.vocabulary import Arm
from tests.support.reports import evidence, report

BEFORE = Path(__file__).parents[4] / "upgrade" / "before.tar.xz"


@pytest.fixture(scope="module")
def stored() -> list[dict[str, Any]]:
    """The reports that version 0.1.0 wrote: of masktune, evaluate and retrain_head jobs."""
    with tarfile.open(BEFORE) as packed:
        files = [
            packed.extractfile(name) for name in packed.getnames() if name.endswith("report/report.json")
        ]
        return [json.load(file) for file in files if file is not None]


def unknown_fields(part: Any) -> set[str]:
    """Names of fields that no model of the report declares."""
    if isinstance(part, BaseModel):
        inside = (unknown_fields(getattr(part, name)) for name in type(part).model_fields)
        return set(part.model_extra or ()).union(*inside)
    if isinstance(part, dict):
        part = list(part.values())
    return set().union(*map(unknown_fields, part)) if isinstance(part, list) else set()


def test_stored_reports_of_version_2_are_read_and_nothing_of_them_is_unknown(
    stored: list[dict[str, Any]],
) -> None:
    assert {report["kind"] for report in stored} == {"masktune", "evaluate", "retrain_head"}
    for before in stored:
        assert before["version"] == 2
        report = read_report(json.dumps(before))
        assert report.version == VERSION
        assert unknown_fields(report) == set()
        assert report.metrics["test"][Arm.ERM].accuracy == before["metrics"]["test"]["erm"]["accuracy"]


def test_an_upgraded_report_is_not_changed_again_and_its_source_never(stored: list[dict[str, Any]]) -> None:
    for before in stored:
        copy = json.loads(json.dumps(before))
        after = upgrade(before)
        assert before == copy
        assert upgrade(after) == after
        written = Report.model_validate(after).model_dump_json()
        assert json.loads(read_report(written).model_dump_json()) == json.loads(written)


def test_a_report_without_a_version_is_read_like_the_first(stored: list[dict[str, Any]]) -> None:
    before = dict(stored[0])
    del before["version"]
    assert read_report(json.dumps(before)).version == VERSION


@pytest.mark.parametrize("groups", [True, False])
def test_version_3_claimed_to_have_tested_splits_without_groups(groups: bool) -> None:
    before = evidence(report(groups=groups)) | {"version": 3}
    before["verdict"]["verdict"] = "no_detectable_effect"
    before["shortcut_reliance"]["evidence"] = "none_seen"
    sign = {"name": "groups", "kind": "failure", "present": False, "n": 9, "sentence": "…"}
    before["shortcut_reliance"]["signs"] = [sign] if groups else []
    after = read_report(json.dumps(before))
    assert after.verdict is not None
    assert after.shortcut_reliance is not None
    assert (after.verdict.verdict, after.verdict.reason, after.shortcut_reliance.evidence) == (
        ("no_detectable_effect", None, "none_seen")
        if groups
        else ("not_testable", "no_groups", "not_testable")
    )


@pytest.mark.parametrize("groups", [True, False])
def test_version_4_claimed_harm_without_groups(groups: bool) -> None:
    before = report(groups=groups) | {"version": 4}
    before["verdict"] |= {"verdict": "hurt"}
    before["verdicts"] = {"masktune": before["verdict"]}
    after = read_report(json.dumps(before))
    expected = ("hurt", None) if groups else ("not_testable", "shortcut_or_harm")
    for verdict in (after.verdict, after.verdicts[Arm.MASKTUNE]):
        assert verdict is not None
        assert (verdict.verdict, verdict.reason) == expected


def test_pictures_of_an_earlier_version_are_layers_that_hide_the_image(stored: list[dict[str, Any]]) -> None:
    before = next(report for report in stored if report["kind"] == "masktune")
    after = read_report(json.dumps(before))
    assert before["gallery"] is not None
    assert before["gaze"] is not None
    assert after.gallery is not None
    assert after.saliency is not None
    for old, item in zip(before["gallery"]["items"], after.gallery.items, strict=True):
        erm, old_erm = item.arms[Arm.ERM], old["arms"]["erm"]
        assert (erm.heatmap, erm.mask, erm.mask_outline) == (old_erm["overlay"], old_erm["mask"], None)
    for old, picture in zip(before["gaze"]["pictures"], after.saliency.pictures, strict=True):
        assert picture.heatmaps[Arm.ERM] == old["arms"]["erm"]


def test_figures_that_were_not_finite_are_null(stored: list[dict[str, Any]]) -> None:
    before = json.loads(json.dumps(stored[0]))
    arm = before["reliability"]["test"]["erm"]
    before["reliability"]["test"]["erm"] = dict.fromkeys(arm) | {"n": arm["n"], "bins": arm["bins"]}
    before["cost"][0]["seconds"] = float("nan")
    report = read_report(json.dumps(before))
    assert report.reliability["test"][Arm.ERM] is None
    assert report.cost[0].seconds is None


def test_a_report_of_a_later_version_is_refused(stored: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError):
        read_report(json.dumps(upgrade(stored[0]) | {"version": VERSION + 1}))


def test_a_report_from_before_there_were_subjects_has_none(stored: list[dict[str, Any]]) -> None:
    current_report = read_report(json.dumps(stored[0]))
    assert {
        metrics.n_subjects for by_arm in current_report.metrics.values() for metrics in by_arm.values()
    } == {None}
    assert {difference.n_subjects for rows in current_report.differences.values() for difference in rows} <= {
        None
    }
