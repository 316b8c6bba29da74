"""The report of real jobs: what it finds on a painted square, and that nothing odd breaks it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from core.tables import JobRow
from masktune.contract.vocabulary import STAGES, JobKind
from tests.support.jobs.bench import Bench
from tests.support.jobs.golden import Masktune
from tests.support.jobs.real_jobs import CLASSES, hyperparameters


@pytest.mark.trains
def test_it_holds_figures_verdict_cost_and_pictures(digits: Bench, masktune: JobRow) -> None:
    folder, report = digits.folder(masktune.done["evaluate"]["artifact"]), digits.report_json(masktune)
    assert set(report["metrics"]["test"]) == {"erm", "masktune", "masktune_control"}
    for arm, figures in report["metrics"]["test"].items():
        assert figures["accuracy"] == figures["correct"] / figures["n"]
        assert figures["accuracy"] == masktune.metrics[arm]["test"]["accuracy"]
        assert figures["low"] <= figures["accuracy"] <= figures["high"]
    assert {(d["a"], d["b"]) for d in report["differences"]["test"]} == {
        ("masktune", "erm"),
        ("masktune", "masktune_control"),
    }
    for arm, rows in report["confusion"]["counts"].items():
        figures = report["metrics"]["test"][arm]
        assert [sum(row) for row in rows] == [one["n"] for one in figures["classes"]]
        assert [row[n] for n, row in enumerate(rows)] == [one["correct"] for one in figures["classes"]]
    assert report["verdict"]["b"] == "masktune_control"
    listed = {(d["b"], d["statistic"]): d for d in report["differences"]["test"]}
    for told in (report["verdict"]["deciding_difference"], report["verdict"]["accuracy_difference"]):
        assert {"a": "masktune", "b": "masktune_control"} | told == listed[
            "masktune_control", told["statistic"]
        ]
    of_job = masktune.done["evaluate"]["verdict"]
    assert of_job == {name: report["verdict"][name] for name in of_job}
    assert of_job.keys() == {
        *("verdict", "reason", "a", "b", "beaten_by", "inferred"),
        *("against_erm", "against_control", "hurt_by_columns"),
    }
    assert [c["stage"] for c in report["cost"]] == [s.value for s in STAGES[JobKind.MASKTUNE]]
    assert report["masks"] == masktune.done["mask"]["summary"]
    items = report["gallery"]["items"]
    assert 0 < len(items) <= 16
    assert items[-1]["rule"] == "ordinary"
    assert len({item["sample"] for item in items}) == len(items)
    for item in items:
        names = [
            item["image"],
            *(f[k] for f in item["arms"].values() for k in ("heatmap", "mask", "mask_outline")),
        ]
        assert all(Image.open(folder / name).size == (224, 224) for name in names)


@pytest.mark.trains
def test_every_part_of_a_report_has_its_figures_with_n_and_interval(digits: Bench, masktune: JobRow) -> None:
    report, page = digits.report_json(masktune), digits.page(masktune)
    assert "3. Can I trust the model?" in page
    n = report["dataset"]["splits"]["test"]
    for arm in ("erm", "masktune"):
        cost = report["masking_cost"]["test"][arm]
        assert cost["n"] == n
        assert cost["masked_low"] <= cost["masked_share"] <= cost["masked_high"]
        assert {each["n"] for each in cost["arms"]} == {n}
        assert cost["arms"][0]["correct"] == report["metrics"]["test"][arm]["correct"]
        means = report["saliency"]["mean_maps"][arm]
        assert sum(mean["n"] + mean["undefined"] for mean in means) == n
        for mean in means:
            assert np.sum(mean["map"]) == pytest.approx(1)
    moved = report["saliency"]["shift"]["all"]
    assert 0 <= moved["low"] <= moved["mean"] <= moved["high"] <= 1
    assert moved["n"] + moved["undefined"] == n
    for split, by_arm in report["risk_coverage"].items():
        for arm, curve in by_arm.items():
            assert curve["n"] == report["dataset"]["splits"][split]
            last = curve["points"][-1]
            assert last["low"] <= last["risk"] <= last["high"]
            if split != "calibration":
                wrong = curve["n"] - report["metrics"][split][arm]["correct"]
                assert (last["coverage"], last["errors"]) == (1, wrong)
    assert set(report["certificates"]) == {"erm", "masktune", "masktune_control"}
    assert {certificates["models"] for certificates in report["certificates"].values()} == {3}
    shown = report["reliability_at_temperature"]["test"]["masktune"]
    assert shown["n"] == n
    assert f"at temperature {report['temperature']['masktune']['value']:.2f}" in page
    reliability = report["reliability"]["test"]["masktune"]
    assert sum(b["n"] for b in reliability["bins"]) == reliability["n"] == n


def test_the_same_job_writes_the_same_figures(digits: Bench) -> None:
    job_inputs = {"model": digits.untrained(CLASSES)}
    jobs = digits.succeed(*(digits.run(JobKind.EVALUATE, inputs=job_inputs, params={}) for _ in range(2)))
    first, second = (digits.report_json(job) for job in jobs)
    for report in (first, second):
        for changing in ("job", "created_at", "cost"):
            del report[changing]
    assert first == second


@pytest.mark.trains
def test_a_painted_square_is_found_in_the_data_before_anything_is_trained_and_in_the_model(
    digits: Bench,
) -> None:
    _, dataset = digits.imported({"builtin": "biased-digits"}, options={"size": 16})
    assert any(facts["groups"] for facts in dataset.summary["splits"].values())
    assert dataset.summary["shortcuts"]["strength"] == "strong"
    assert "top-left corner" in dataset.summary["shortcuts"]["sentence"]
    quick = hyperparameters(image_size=16, epochs=1, batch_size=32)
    (job,) = digits.succeed(digits.run(JobKind.ERM, dataset_id=dataset.id, params=quick))
    report, page = digits.report_json(job), digits.page(job)
    assert report["shortcut_reliance"]["evidence"] == "strong"
    found = {sign["name"] for sign in report["shortcut_reliance"]["signs"] if sign["present"]}
    assert {"shift", "property"} <= found
    assert report["properties"]["findings"][0]["property"] == "top-left corner"
    assert "Signs of a shortcut: a failure and a possible cause" in page
    assert "top-left corner" in page
    assert report["saliency"]["after"] is None
    assert report["saliency"]["shift"] is None
    items = report["gallery"]["items"]
    assert {item["rule"] for item in items} <= {"most_masked", "mistaken", "ordinary"}
    ordinary = [item for item in items if item["rule"] == "ordinary"]
    assert all(item["arms"]["erm"]["correct"] for item in ordinary)
    assert ordinary


@pytest.mark.trains
def test_no_model_is_asked_twice_for_a_split(digits: Bench, masktune: JobRow, trained_once: Masktune) -> None:
    splits = digits.report_json(masktune)["dataset"]["splits"]
    assert sorted(trained_once.asked) == sorted(
        splits[name] for name in ("calibration", "val", "test") for _ in range(3)
    )


def test_nothing_to_look_at_and_few_samples_break_nothing(digits: Bench) -> None:
    """Images of one colour: no map has a place, no mask a pixel; three samples of a class to test."""
    folder, shades = digits.images.parent / "flat", iter(range(256))
    for split, count in (("train", 20), ("val", 2), ("test", 3)):
        for name in ("a", "b", "c"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                shade = next(shades)
                path = folder / split / name / f"{index}.png"
                Image.new("RGB", (28, 28), (shade, shade, shade)).save(path)
    _, dataset = digits.imported({"address": f"file://{folder}"})
    given = {"model": digits.untrained(tuple(dataset.classes))}
    asked = {"splits": ["test"]}
    (job,) = digits.succeed(digits.run(JobKind.EVALUATE, dataset_id=dataset.id, inputs=given, params=asked))
    report, page = digits.report_json(job), digits.page(job)
    cost = report["masking_cost"]["test"]["imported"]
    assert (cost["n"], cost["nothing_masked"], cost["cost"]["estimate"]) == (9, 9, 0)
    means = report["saliency"]["mean_maps"]["imported"]
    assert [(mean["n"], mean["undefined"], mean["map"]) for mean in means] == [(0, 3, None)] * 3
    assert {item["rule"] for item in report["gallery"]["items"]} == {"mistaken"}
    assert report["verdict"] is None
    assert "No comparison" in page
    assert "No image has a map that shows where the model looks." in page
    assert "3. Can I trust the model?" in page


@pytest.mark.trains
def test_a_leak_and_a_column_that_tells_the_class_are_told_where_the_report_judges(
    digits: Bench,
) -> None:
    """Each patient has an image in train and one in test; each scanner but the last goes with one class,
    except in test, where two have ten images of each."""
    folder, shades = digits.images.parent / "scanners", iter(range(256))
    folder.mkdir()
    rows = ["path,label,split,patient,scanner"]
    for number in range(160):
        label, split = number % 2, ("train", "train", "test", "test")[number % 4]
        if split == "test" and number % 8 >= 6:
            split = "val" if number % 16 < 8 else "calibration"
        path = f"{number:03d}.png"
        Image.new("RGB", (28, 28), (next(shades), 0, 90 * label)).save(folder / path)
        scanner = "new" if number % 15 == 0 else ("A", "B")[label]
        if split == "test":
            scanner = ("A", "B")[number // 8 % 2]
        rows.append(f"{path},{('a', 'b')[label]},{split},p{number // 4},{scanner}")
    (folder / "labels.csv").write_text("\n".join(rows))
    job, dataset = digits.imported({"address": f"file://{folder}"})
    note = job.done["import"]["summary"]["notes"][0]
    assert (note["code"], note["tone"]) == ("subject_in_two_splits", "bad")
    assert note["detail"].startswith("patients in more than one split: 40 of 40")
    quick = hyperparameters(image_size=16, epochs=1, finetune={"epochs": 1})
    (trained,) = digits.succeed(digits.run(JobKind.MASKTUNE, dataset_id=dataset.id, params=quick))
    report, page = digits.report_json(trained), digits.page(trained)
    assert report["verdict"]["verdict"] != "no_detectable_effect"  # there are no groups
    steps = [step["step"] for step in report["recommendation"]["next"]]
    assert steps[0] == "cut_splits"
    assert steps[2:5] == ["measure_by_column", "balance_over_column", "hold_out_value"]
    assert report["recommendation"]["next"][4]["value"] in ("A", "B")
    (column,) = report["column_shortcuts"]
    assert (column["column"], column["is_grouping"], column["strength"]) == ("scanner", False, "strong")
    by_column = column["verdicts"].pop("masktune")
    assert column["verdicts"] == {}
    of_groups = by_column["deciding_difference"]
    assert (of_groups["statistic"], of_groups["strata"], of_groups["n"]) == ("worst_group_accuracy", 4, 40)
    assert by_column["reason"] in (None, "not_above_chance")
    assert ("By the column “scanner”, the worst group" in page) is (by_column["reason"] is None)
    assert "Cut the splits so that no patient is in two" in page
    assert f"masktune fix {dataset.id} --group meta:scanner --new-splits" in page
    assert column["sentence"] in page
